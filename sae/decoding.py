"""Decoding a property of states from their representations, in rollouts that the decoder hasn't seen."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

Floats = NDArray[np.float64]

MACHINES = 32
"""The most that are trained: of more rollouts, several are left out at once, so that time grows with their number."""


def leave_one_rollout_out(x: Floats, labels: NDArray[np.bool_], *, seed: int) -> NDArray[np.bool_]:
    """Labels as a linear support vector machine predicts them, trained on all other rollouts (Demircan 2025, Fig 5C).

    Features are standardised by the training rollouts, classes weighted to count alike, C = 1.

    Args:
        x: a representation of each state [R, S, d]; states that are NaN aren't trained on.
        labels: of the states [S], the same in every rollout.

    Returns:
        [R, S]; False for states that are NaN.

    Raises:
        ValueError: fewer than two rollouts, or other rollouts that lack one of the two labels.
    """
    n_rollouts, _, d = x.shape
    if n_rollouts < 2:
        raise ValueError("a rollout is decoded by a machine trained on others: at least two are needed")
    known = np.asarray(np.isfinite(x).all(2))
    rows = np.where(known[:, :, None], x, 0.0).reshape(-1, d)
    every = np.tile(labels, n_rollouts)
    predicted = np.zeros_like(known)
    for fold in range(min(n_rollouts, MACHINES)):
        left_out = np.zeros_like(known)
        left_out[fold::MACHINES] = True
        train, asked = (known & ~left_out).ravel(), left_out.ravel()
        if len(np.unique(every[train])) < 2:
            raise ValueError("the other rollouts hold only one of the two labels")
        scaler = StandardScaler().fit(rows[train])
        scaled, test = scaler.transform(rows[train]), scaler.transform(rows[asked])
        if d > len(scaled):
            # A linear machine sees only the span of its training rows: the same fit in fewer dimensions.
            basis = np.linalg.qr(scaled.T)[0]
            scaled, test = scaled @ basis, test @ basis
        machine = LinearSVC(C=1.0, class_weight="balanced", dual=False, random_state=seed)
        predicted[left_out] = machine.fit(scaled, every[train]).predict(test)
    return predicted & known


def balanced_accuracy(predicted: NDArray[np.bool_], labels: NDArray[np.bool_], known: NDArray[np.bool_]) -> Floats:
    """Mean of the shares of either label that were predicted, over the last axis; NaN where a label is missing.

    All three are [..., S] or broadcast to it; only states that are known count.
    """
    shares = []
    for label in (True, False):
        asked = known & (labels == label)
        with np.errstate(invalid="ignore"):
            shares.append((asked & (predicted == label)).sum(-1) / asked.sum(-1))
    accuracy: Floats = (shares[0] + shares[1]) / 2
    return accuracy


def permuted_accuracy(
    predicted: NDArray[np.bool_],
    labels: NDArray[np.bool_],
    known: NDArray[np.bool_],
    permutations: NDArray[np.integer[Any]],
) -> Floats:
    """Balanced accuracy of each rollout, and the same with the labels of its states permuted.

    The predictions stay as they are: given the other rollouts, a rollout's labels are exchangeable if its
    representations don't tell them, so each rollout's accuracies are its exact null. That rollouts train each other's
    machines is left out.

    Args:
        predicted: [R, S].
        labels: [S].
        known: states that were met [R, S].
        permutations: of the states of each rollout [P, R, S].

    Returns:
        [P + 1, R], the true one first.
    """
    true = balanced_accuracy(predicted, labels, known)
    return np.concatenate([true[None], balanced_accuracy(predicted, labels[permutations], known)])
