"""What can make a TD latent appear where there is none, and which control answers it, or why none does."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Trap:
    """A way to be fooled."""

    name: str
    why: str
    control: str
    """What answers it in this report, or why nothing does."""
    figures: tuple[str, ...] = ()
    """Where, as anchors of the page."""


TRAPS: tuple[Trap, ...] = (
    Trap(
        "Imitation",
        "Past choices foretell the next ones. Agreement, likelihood and correlation with Q-values can all look "
        "excellent in a model that never uses a reward.",
        "Two-Step is played in closed loop and judged by return. In the Grid World the same moves are told with "
        "random, no and swapped rewards. A fitted repetition model stands among the behaviour models. The shipped "
        "model is gated on its return in self-play and on the effect of swapping one reward (tdlens "
        "evaluate-reference).",
        ("two_step-fig2b_behaviour", "grid_world-fig4a_prediction", "grid_world-fig9_reward_controls"),
    ),
    Trap(
        "Time, reward and phase in the TD error",
        "The TD error shrinks while an agent learns and jumps with rewards; whatever tells the time or the last reward "
        "correlates with it.",
        "Partial r given step, its logarithm, place in the episode, last rewards and highest return so far; the TD "
        "error's own correlation with each of these; a lesion of latents that tell the time as well. Variants with a "
        "reversal of rewards or transitions are among the Two-Step data.",
        ("grid_world-clock", "two_step-fig2cd_correlations", "grid_world-fig4d_lesions"),
    ),
    Trap(
        "Which token",
        "The error of a step exists only once its reward and next state are read; pooling kinds of tokens makes the "
        "token's identity the strongest correlate.",
        "One kind of token a task (pick, go, the comma). A signal at a decision is what was known before it: the error "
        "of the transition before, values before the update. Tests hold the lag to the published curves of Fig 7.",
        ("two_step-fig7_windows",),
    ),
    Trap(
        "Whose Q-learner",
        "The learner that generated the actions, one replayed on them, and one fitted to them give different r.",
        "Learning rate, discount and window stand in each study's settings and with every recorded signal; they are "
        "the paper's. In the Grid World latents are correlated, too, with errors of the learner that made the moves, "
        "of one fitted to the model's own predictions, and of one that sees random rewards. In Two-Step the model "
        "itself makes the moves; no learner is fitted to them there beyond its inverse temperature.",
        ("grid_world-learners", "grid_world-fig4bc_correlations"),
    ),
    Trap(
        "A discount of 0 as a control",
        "Degenerate in Two-Step: the first choice's values are 0, and the second's are the same with any discount.",
        "Both are reported, and the comparison is not read as evidence there. It tells something in the Grid World, "
        "where the way to the goal is long.",
        ("two_step-fig2cd_correlations", "grid_world-fig4bc_correlations"),
    ),
    Trap(
        "The largest of many",
        "The best of hundreds of latents, in several blocks and for several signals, is high by chance.",
        "Latents are chosen on one half of the rollouts and scored on the other; a family-wise threshold comes from "
        "permutations of whole rollouts at fixed positions, over all latents, blocks and signals. In the graph task "
        "the largest r is taken in each walk, and the same null covers it.",
        ("two_step-fig2cd_correlations", "grid_world-fig4bc_correlations", "graph_walk-fig5de_correlations"),
    ),
    Trap(
        "Autocorrelation",
        "Neighbouring decisions are not independent: the sample is the rollouts, not the tokens.",
        "All intervals and permutations are over rollouts. Other rollouts' signals, which share the course of time, "
        "are drawn as a curve of their own.",
        ("graph_walk-fig5de_correlations",),
    ),
    Trap(
        "Fixed names",
        "Where a node always has the same name, its successor representation is a function of the token.",
        "Words are drawn anew for every walk. Similarities of nodes, which no name can give, are compared with the "
        "successor representation's, beside an untrained model and permuted nodes; and single entries are correlated "
        "with the node and the one before held constant, too.",
        ("graph_walk-similarities", "graph_walk-fig5a_maps"),
    ),
    Trap(
        "What an untrained network knows",
        "Random transformers mix the context well enough for signals to be read from them.",
        "The same architecture with random weights reads the same texts; its best dimensions are scored as ours are, "
        "its blocks decoded and aligned likewise. Of probes there is the decoder of bottleneck nodes; signals of "
        "learners are compared by single features, as the paper does.",
        ("two_step-fig2cd_correlations", "graph_walk-fig5c_decoding", "graph_walk-fig10_cka"),
    ),
    Trap(
        "Value latents under another name",
        "Values and TD errors are correlated, and a lesion of TD latents may be one of value latents.",
        "The lesion is run again without latents that follow a Q-value more closely, and in the first half only: a TD "
        "update would be missed later. Lesions of Q-value latents stand beside them. The best TD latents are "
        "regressed on reward, next state's value and last action's value separately, on rollouts that did not choose "
        "them: those of an error have weights of opposed signs on the two values.",
        ("grid_world-td_parts", "two_step-td_parts", "grid_world-controls", "two_step-controls"),
    ),
    Trap(
        "Controls that are too weak",
        "A latent that hardly fires is easy to beat; controls of like firing rate may still change less.",
        "Matched latents of like firing rate and size, with their distance in the table, and random directions that "
        "move the residual stream exactly as far, in as many draws of either as the study asks for; each has to be "
        "beaten. What else an edit spoils is shown as the shift of all probabilities and, on the graph, the "
        "mass on neighbours.",
        ("grid_world-controls", "graph_walk-controls", "two_step-controls"),
    ),
    Trap(
        "Autoencoders that add nothing",
        "In a narrow network the best raw dimension may do as well as the best latent.",
        "Raw dimensions and principal components are scored as latents are and are conditions of each claim; CKA "
        "repeats the graph's analysis without any autoencoder.",
        ("grid_world-fig4bc_correlations", "graph_walk-fig10_cka"),
    ),
    Trap(
        "Training cut short",
        "A learning rate that has not decayed, or a budget in steps on a busy machine, gives a weaker model.",
        "No control in this report: it concerns the making of the reference model. Its card says what its training "
        "cost, and tdlens evaluate-reference prints its gates.",
    ),
    Trap(
        "A teacher that learns too slowly",
        "A plain Q-learner shows little learning within a short context, so that there is little to foretell.",
        "320 decisions, as in the paper, with its schedule of exploration; the curve of the true prompt shows when "
        "the agent's moves become predictable at all.",
        ("grid_world-fig4a_prediction",),
    ),
    Trap(
        "Copying the best episode so far",
        "The reviewers' alternative: remember the best episode and do the same again.",
        "A behaviour model of its own, a signal that latents may follow instead (Grid World), and a covariate.",
        ("two_step-fig2b_behaviour", "grid_world-fig4bc_correlations"),
    ),
    Trap(
        "Neighbour mixing instead of a successor representation",
        "Representations that drift towards the mean of a node's neighbours show communities too, without any TD "
        "learning.",
        "One step of mixing by the walk's own transitions is a signal beside the successor representation, in "
        "correlations and CKA; in similarities the transition matrix itself is.",
        ("graph_walk-fig5de_correlations", "graph_walk-fig10_cka", "graph_walk-similarities"),
    ),
)
