"""One small study with a row in every table."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from tdlens.identity import digest
from tdlens.record import (
    ActivationShard,
    Analysis,
    Artifact,
    BehaviourFit,
    Blob,
    BlockMeasure,
    Capture,
    CaptureRow,
    CircuitSearch,
    ConceptCosine,
    ConceptLatent,
    ConceptSignal,
    ConceptToken,
    ConceptVector,
    Coverage,
    EmotionComponent,
    EmotionCosine,
    Episode,
    GoalTracking,
    HeadLabel,
    HeadMeasure,
    HeadPair,
    HeadScore,
    Intervention,
    InterventionEffect,
    InterventionLatent,
    Job,
    JobParent,
    LatentActivation,
    LatentExample,
    LatentMeasure,
    LatentPredicate,
    LearningSignal,
    MapPoint,
    MazeCheckpoint,
    MazeProgress,
    MazeTraining,
    Model,
    ModelMetric,
    PlantedAxis,
    PlantedCircuit,
    PublishedPoint,
    Rollout,
    SaeCheckpoint,
    SaeMetric,
    SearchEpisode,
    SearchProgress,
    SearchStep,
    Signal,
    SteeredText,
    SteeringContrast,
    SteeringEffect,
    Step,
    StudyJob,
    Submission,
    Task,
    Worker,
    current_study,
    insert_analysis,
)


def make_job(session: Session, identity: str, **changes: Any) -> Job:
    """A leased job, unless `changes` say otherwise."""
    fields: dict[str, Any] = {
        **{"stage": "play", "key": "all", "identity": identity, "state": "leased", "attempt": 1},
        **{"owner": "me", "config": {"n": 3}, "versions": {"torch": "2"}, "device": "cpu"},
        **{"started_at": datetime.now(UTC), "lease_until": datetime.now(UTC) + timedelta(minutes=1)},
    }
    job = Job(**(fields | changes))
    session.add(job)
    session.flush()
    return job


def fill(session: Session) -> None:
    """Study `demo`: one rollout of one episode of two steps without, and one with an intervention."""
    study = current_study(session, name="demo", title="A demo", config={"seed": 1})
    play, analyse = make_job(session, "a"), make_job(session, "b", stage="correlate")
    session.add(JobParent(job_id=analyse.id, parent_id=play.id))
    session.add_all(StudyJob(study_id=study.id, job_id=job.id) for job in (play, analyse))
    submission = Submission(study_id=study.id, executor="local", settings={"workers": 1})
    session.add(submission)
    session.flush()
    session.add(Worker(owner="me", submission_id=submission.id, study_id=study.id, job_id=play.id, state="working"))
    shard, matrix = (Blob(sha256=digest(name), suffix=name, bytes=3) for name in ("safetensors", "parquet"))
    task = Task(name="two_step", variant="original", config={}, config_hash="c", actions=["left", "right"])
    model = Model(
        name="reference", source="shipped", fingerprint="f", architecture="llama", n_blocks=2, d_model=4,
        n_parameters=100, dtype="float32",
    )  # fmt: skip
    signal = Signal(
        name="td_error", agent="q_learning", parameters={"k": 4}, parameters_hash="p", description="TD error"
    )
    session.add_all([shard, matrix, task, model, signal])
    session.flush()

    sae = SaeCheckpoint(
        job_id=play.id, model_id=model.id, name="topk", block=1, architecture="topk", d_in=4, d_latents=8,
        config={"k": 2}, blob=shard.sha256, seed=7,
    )  # fmt: skip
    session.add(sae)
    session.flush()
    session.add(SaeMetric(sae_id=sae.id, name="explained_variance", value=0.9))
    lesion = Intervention(
        job_id=analyse.id, name="zero td", model_id=model.id, sae_id=sae.id, block=1, latents=[3],
        operation="zero", target_signal="td_error", control="none", description="the TD latent off",
    )  # fmt: skip
    session.add(lesion)
    session.flush()
    session.add_all(
        [
            InterventionLatent(intervention_id=lesion.id, block=1, latent=3, sae_id=sae.id),
            InterventionEffect(
                intervention_id=lesion.id, metric="return", value=1.0, baseline=2.0, difference=-1.0, n_rollouts=1
            ),
            BlockMeasure(
                job_id=analyse.id, model_id=model.id, task="two_step", block=1, source="sae", sae_name="topk",
                measure="max_r", signal="sr", intervention_id=lesion.id, value=0.6, n_rollouts=1,
            ),
            MapPoint(
                job_id=analyse.id, block=1, method="mds", source="stream", rollout_index=0,
                intervention_id=lesion.id, item=2, label="cake", grp=0, x=0.5, y=-0.5,
            ),
            PublishedPoint(job_id=analyse.id, source="paper", figure="2A", series="model", x=0.0, y=4.0),
            ModelMetric(job_id=play.id, model_id=model.id, name="mean_return", value=8.0, n=1),
            LatentMeasure(job_id=analyse.id, sae_id=sae.id, latent=3, name="frequency", value=0.5),
            LatentMeasure(job_id=analyse.id, sae_id=sae.id, latent=3, name="flip_rate", value=0.0),
            LatentPredicate(
                job_id=analyse.id, model_id=model.id, source="sae", block=1, sae_id=sae.id, latent=3,
                predicate="at_2", family="at", f1=0.8, precision=1.0, recall=2 / 3, f1_heldout=0.75, ci_low=0.5,
                ci_high=0.875, null_threshold=0.25, p_familywise=0.01, n_true=3, n_fired=2,
            ),
            LatentExample(
                job_id=analyse.id, sae_id=sae.id, latent=3, rank=0, state=2, value=1.5, q_effect=[0.25, -0.5]
            ),
        ]
    )  # fmt: skip
    steps = [
        *_play(session, play, task, model, None),
        *_play(session, analyse, task, model, lesion),
    ]
    capture = Capture(
        job_id=play.id,
        model_id=model.id,
        positions="decision",
        dtype="float32",
        n_rows=2,
        hook="block_output",
    )
    analysis = Analysis(
        job_id=analyse.id, task="two_step", model_id=model.id, source="sae", sae_name="topk", n=2,
        n_rollouts=1, family_size=8, n_permutations=100, alpha=0.05, threshold_z=3.0, covariates=["step"],
    )  # fmt: skip
    session.add(capture)
    correlations = {"block": 1, "signal_id": signal.id, "latent": [3], "sae_id": sae.id, "r": -0.8, "n": 2}
    insert_analysis(session, analysis, correlations | {"n_rollouts": 1})
    session.flush()
    session.add_all(
        [
            Artifact(job_id=play.id, name="history", blob=matrix.sha256),
            LearningSignal(job_id=analyse.id, signal_id=signal.id, step_id=steps[0].id, value=0.5),
            LatentActivation(
                job_id=analyse.id, sae_id=sae.id, latent=3, signal_id=signal.id, step_id=steps[0].id, value=1.5
            ),
            CaptureRow(capture_id=capture.id, row=0, step_id=steps[0].id),
            ActivationShard(
                capture_id=capture.id, block=1, blob=shard.sha256, first_row=0, n_rows=2, d=4, dtype="float32"
            ),
            Coverage(
                analysis_id=analysis.id, block=1, signal_id=signal.id, n_latents=8, n_live=5, n_kept=1,
                blob=matrix.sha256,
            ),
            BehaviourFit(
                job_id=analyse.id, task="two_step", model_id=model.id, policy="model",
                intervention_id=lesion.id,
                behaviour_model="q_learning", n_choices=2, n_rollouts=1, n_parameters=1, nll=1.0, aic=4.0,
                bic=4.0, chance_nll=1.4,
            ),
        ]
    )  # fmt: skip
    _search(session, analyse, play, task, model, steps, shard)
    _welfare(session, analyse, model, sae, shard)


def _search(session: Session, scan: Job, job: Job, task: Task, model: Model, steps: list[Step], policy: Blob) -> None:
    """A search whose picks are the first rollout's actions, and what is known of the heads."""
    search = CircuitSearch(
        job_id=job.id, model_id=model.id, n_heads=2, name="ppo_k5/0", method="ppo", best_of=5, seed=0,
        transitions=400, forward_passes=2000, parameters={"lr": 2.5e-4},
    )  # fmt: skip
    session.add_all([search, Artifact(job_id=job.id, name="policy", blob=policy.sha256)])
    session.flush()
    head: dict[str, Any] = {"job_id": scan.id, "model_id": model.id, "block": 2, "head": 1}
    episode = {"task_id": task.id, "seed": 2**40}
    session.add_all(
        [
            HeadScore(
                **head, **episode, ablation="value_bias", split="evaluation", task_damage=2.0, control_damage=0.5,
                score=1.5, attribution=1.25,
            ),
            HeadMeasure(**head, task="", measure="induction_score", value=0.75),
            HeadLabel(**head, task="", label="induction", source="attention pattern"),
            HeadPair(**head, **episode, other_block=2, other_head=0, damage=3.0, excess=0.75),
            SearchProgress(search_id=search.id, transitions=400, task_id=task.id, best_score=1.0, n_episodes=1),
            SearchEpisode(
                rollout_id=steps[0].rollout_id, search_id=search.id, task_code="none", best_of=1, best_score=1.0,
                oracle=1.5, forward_passes=6, best_by_pass=[[4, 1.0]], best_block=1, best_head=1, oracle_block=2,
                oracle_head=1,
            ),
            SearchStep(step_id=steps[0].id, forward_passes=4, best_score=1.0),
            SearchStep(step_id=steps[1].id, forward_passes=6, best_score=1.0),
            PlantedCircuit(
                job_id=job.id, model="induction_backup", block=2, head=0, role="hidden", score=0.0, pair_excess=4.0
            ),
        ]
    )  # fmt: skip


def _welfare(session: Session, job: Job, base: Model, sae: SaeCheckpoint, vectors: Blob) -> None:
    """A training in the maze, its concept vector, and what comes of steering by it."""
    trained = Model(
        name="reference:maze", source="trained", fingerprint="g", architecture="llama", n_blocks=2, d_model=4,
        n_parameters=100, dtype="float32",
    )  # fmt: skip
    session.add(trained)
    session.flush()
    training = MazeTraining(
        job_id=job.id, base_id=base.id, model_id=trained.id, name="maze", algorithm="dr_grpo", variant="standard",
        shuffled="no", steps=100, seed=2**40, parameters={"lr": 1e-4},
    )  # fmt: skip
    session.add(training)
    session.flush()
    made: dict[str, Any] = {"job_id": job.id, "training": "maze"}
    vector = made | {"model_id": trained.id, "variant": "standard", "concept": "gold", "block": 1}
    bridge = made | {"sae_id": sae.id, "concept": "gold", "block": 1, "signal": "td_error"}
    steering = made | {"reader": "naive", "source": "trained", "dose_kind": "alpha", "evaluation": "refusal"}
    session.add_all(
        [
            MazeProgress(
                training_id=training.id, step=1, mean_return=-1.5, golds=0.5, molds=2.0, entropy=1.25, loss=0.1,
                gradient=2.0, equalised_entropy=0.5, clipped=0.0, learning_rate=1e-4,
            ),
            MazeCheckpoint(training_id=training.id, step=100, model_id=trained.id),
            ConceptVector(
                **vector, step=None, norm=2.5, stream_norm=10.0, auroc=0.97, cohen_d=3.0, overlap=0.125,
                chosen=True, n=64, blob=vectors.sha256,
            ),
            ConceptCosine(**vector, step=None, other="mold", cosine=-0.75),
            ConceptToken(
                **made, variant="standard", concept="gold", block=1, sign=1, rank=1, token=" good", logit=3.5
            ),
            EmotionCosine(**vector, emotion="happy", cosine=0.25, valence=1.0),
            EmotionComponent(
                **vector, component=1, explained=0.5, valence_r=0.875, projection=1.25, cosine=0.5, null_low=-1.0,
                null_high=1.0,
            ),
            GoalTracking(
                **made, source="trained", reader="naive", panel="maze finals", concept="gold", block=1, d=2.0,
                ci_low=1.5, ci_high=2.5, n=8, n_other=16,
                histogram={"edges": [-1.0, 0.0, 1.0], "first": [2, 6], "other": [10, 6]},
            ),
            SteeringEffect(
                **steering, concept="gold", draw=0, block=1, dose=1.0, norm=2.5, measure="refusal", group="all",
                value=0.25, ci_low=0.125, ci_high=0.375, incoherent=0.0, n=16, judge="rules",
            ),
            SteeredText(
                job_id=job.id, dose_kind="alpha", dose=1.0, item=3, sample=0, prompt="How?", text="Gladly.",
                label="answers", score=0.0,
            ),
            SteeringContrast(
                **steering, measure="refusal", quantity="contrast", expected=-1, value=-0.25, ci_low=-0.5,
                ci_high=-0.125, p=0.001, n=16,
            ),
            ConceptLatent(**bridge, latent=3, r=-0.8, r_partial=None, cosine=-0.5, activation=-1.5),
            ConceptSignal(
                **bridge, n_latents=1, cosine=0.5, cosine_low=-0.4, cosine_high=0.4, cosine_p=0.01, share=0.25,
                share_high=0.2, share_p=0.02,
            ),
            PlantedAxis(
                job_id=job.id, model="planted", evaluation="refusal", planted=True, expected=-1, contrast=-0.5,
                ci_low=-0.75, ci_high=-0.25, cosine=-0.9, cohen_d=2.0, found=True,
            ),
        ]
    )  # fmt: skip


def _play(session: Session, job: Job, task: Task, model: Model, intervention: Intervention | None) -> list[Step]:
    rollout = Rollout(
        job_id=job.id, task_id=task.id, model_id=model.id, policy="model",
        intervention_id=intervention.id if intervention else None, seed=2**40, index=0, n_steps=2,
        transcript="left, right",
    )  # fmt: skip
    session.add(rollout)
    session.flush()
    episode = Episode(rollout_id=rollout.id, index=0, return_=8.0, forced=True, outcome="won")
    session.add(episode)
    session.flush()
    first = Step(
        episode_id=episode.id, rollout_id=rollout.id, index=0, state=0, action=1, reward=0.0, next_state=2,
        done=False, forced=True, p_chosen=0.5, action_probabilities=[0.5, 0.5], token_position=12,
    )  # fmt: skip
    second = Step(
        episode_id=episode.id, rollout_id=rollout.id, index=1, state=2, action=0, reward=8.0, next_state=-1,
        done=True, forced=False,
    )  # fmt: skip
    session.add_all([first, second])
    session.flush()
    return [first, second]
