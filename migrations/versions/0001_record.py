"""The record: tables and views

Revision: 0001, after
"""

from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True)
NOW = sa.text("CURRENT_TIMESTAMP")
VIEWS = Path(__file__).parents[1] / "sql" / "0001_views.sql"

TABLES = (
    "blob",
    "job",
    "model",
    "signal",
    "study",
    "task",
    "analysis",
    "artifact",
    "capture",
    "job_parent",
    "sae_checkpoint",
    "study_job",
    "activation_shard",
    "coverage",
    "intervention",
    "latent_correlation",
    "sae_metric",
    "behaviour_fit",
    "intervention_effect",
    "rollout",
    "episode",
    "step",
    "capture_row",
    "learning_signal",
    "latent_activation",
)
"""In the order of making: each refers only to those before it."""


def upgrade() -> None:
    op.create_table(
        "blob",
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("suffix", sa.String(), nullable=False),
        sa.Column("bytes", BIG, nullable=False),
        sa.Column(
            "created_at",
            MOMENT,
            server_default=NOW,
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_blob")),
    )
    op.create_table(
        "job",
        sa.Column("id", BIG, nullable=False),
        sa.Column("stage", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("identity", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("seed", BIG, nullable=True),
        sa.Column("git_commit", sa.String(), nullable=True),
        sa.Column("git_dirty", sa.Boolean(), nullable=True),
        sa.Column("versions", sa.JSON(), nullable=False),
        sa.Column("device", sa.String(), nullable=False),
        sa.Column(
            "started_at",
            MOMENT,
            server_default=NOW,
            nullable=False,
        ),
        sa.Column("finished_at", MOMENT, nullable=True),
        sa.Column("error", sa.String(), nullable=True),
        sa.CheckConstraint("(state = 'running') = (finished_at IS NULL)", name=op.f("ck_job_finished")),
        sa.CheckConstraint("state IN ('running', 'done', 'failed')", name=op.f("ck_job_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job")),
        sa.UniqueConstraint("identity", name=op.f("uq_job_identity")),
    )
    op.create_index("ix_job_stage", "job", ["stage"])

    op.create_table(
        "model",
        sa.Column("id", BIG, nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("fingerprint", sa.String(), nullable=False),
        sa.Column("architecture", sa.String(), nullable=False),
        sa.Column("n_blocks", sa.Integer(), nullable=False),
        sa.Column("d_model", sa.Integer(), nullable=False),
        sa.Column("n_parameters", BIG, nullable=False),
        sa.Column("dtype", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model")),
        sa.UniqueConstraint("name", "fingerprint", "dtype", name=op.f("uq_model_name_fingerprint_dtype")),
    )
    op.create_table(
        "signal",
        sa.Column("id", BIG, nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("agent", sa.String(), nullable=False),
        sa.Column("parameters", sa.JSON(), nullable=False),
        sa.Column("parameters_hash", sa.String(), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_signal")),
        sa.UniqueConstraint("name", "parameters_hash", name=op.f("uq_signal_name_parameters_hash")),
    )
    op.create_table(
        "study",
        sa.Column("id", BIG, nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("title", sa.String(), nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("config_hash", sa.String(), nullable=False),
        sa.Column("is_current", sa.Boolean(), nullable=False),
        sa.Column(
            "created_at",
            MOMENT,
            server_default=NOW,
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_study")),
        sa.UniqueConstraint("name", "config_hash", name=op.f("uq_study_name_config_hash")),
        sa.UniqueConstraint("name", "revision", name=op.f("uq_study_name_revision")),
    )
    op.create_index(
        "uq_study_current",
        "study",
        ["name"],
        unique=True,
        sqlite_where=sa.text("is_current"),
        postgresql_where=sa.text("is_current"),
    )

    op.create_table(
        "task",
        sa.Column("id", BIG, nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("variant", sa.String(), nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("config_hash", sa.String(), nullable=False),
        sa.Column("actions", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_task")),
        sa.UniqueConstraint("name", "variant", "config_hash", name=op.f("uq_task_name_variant_config_hash")),
    )
    op.create_table(
        "analysis",
        sa.Column("id", BIG, nullable=False),
        sa.Column("job_id", BIG, nullable=False),
        sa.Column("task", sa.String(), nullable=False),
        sa.Column("model_id", BIG, nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("sae_name", sa.String(), nullable=True),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("n_rollouts", sa.Integer(), nullable=False),
        sa.Column("family_size", BIG, nullable=False),
        sa.Column("n_permutations", sa.Integer(), nullable=False),
        sa.Column("alpha", sa.Double(), nullable=False),
        sa.Column("threshold_z", sa.Double(), nullable=True),
        sa.Column("covariates", sa.JSON(), nullable=False),
        sa.CheckConstraint("source IN ('sae', 'raw', 'pca', 'shuffled')", name=op.f("ck_analysis_source")),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_analysis_job_id_job"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["model_id"], ["model.id"], name=op.f("fk_analysis_model_id_model")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_analysis")),
    )
    op.create_index("ix_analysis_job_id", "analysis", ["job_id"])

    op.create_table(
        "artifact",
        sa.Column("job_id", BIG, nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("blob", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["blob"], ["blob.sha256"], name=op.f("fk_artifact_blob_blob")),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_artifact_job_id_job"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "name", name=op.f("pk_artifact")),
    )
    op.create_index("ix_artifact_blob", "artifact", ["blob"])
    op.create_table(
        "capture",
        sa.Column("id", BIG, nullable=False),
        sa.Column("job_id", BIG, nullable=False),
        sa.Column("model_id", BIG, nullable=False),
        sa.Column("positions", sa.String(), nullable=False),
        sa.Column("dtype", sa.String(), nullable=False),
        sa.Column("n_rows", sa.Integer(), nullable=False),
        sa.Column("hook", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_capture_job_id_job"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["model_id"], ["model.id"], name=op.f("fk_capture_model_id_model")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_capture")),
    )
    op.create_index("ix_capture_job_id", "capture", ["job_id"])

    op.create_table(
        "job_parent",
        sa.Column("job_id", BIG, nullable=False),
        sa.Column("parent_id", BIG, nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_job_parent_job_id_job"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["parent_id"], ["job.id"], name=op.f("fk_job_parent_parent_id_job")),
        sa.PrimaryKeyConstraint("job_id", "parent_id", name=op.f("pk_job_parent")),
    )
    op.create_index("ix_job_parent_parent_id", "job_parent", ["parent_id"])

    op.create_table(
        "sae_checkpoint",
        sa.Column("id", BIG, nullable=False),
        sa.Column("job_id", BIG, nullable=False),
        sa.Column("model_id", BIG, nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("block", sa.Integer(), nullable=False),
        sa.Column("architecture", sa.String(), nullable=False),
        sa.Column("d_in", sa.Integer(), nullable=False),
        sa.Column("d_latents", sa.Integer(), nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("blob", sa.String(), nullable=False),
        sa.Column("seed", BIG, nullable=False),
        sa.ForeignKeyConstraint(["blob"], ["blob.sha256"], name=op.f("fk_sae_checkpoint_blob_blob")),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_sae_checkpoint_job_id_job"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["model_id"], ["model.id"], name=op.f("fk_sae_checkpoint_model_id_model")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sae_checkpoint")),
        sa.UniqueConstraint("job_id", "name", "block", name=op.f("uq_sae_checkpoint_job_id_name_block")),
    )
    op.create_index("ix_sae_checkpoint_blob", "sae_checkpoint", ["blob"])

    op.create_table(
        "study_job",
        sa.Column("study_id", BIG, nullable=False),
        sa.Column("job_id", BIG, nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_study_job_job_id_job"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["study_id"], ["study.id"], name=op.f("fk_study_job_study_id_study"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("study_id", "job_id", name=op.f("pk_study_job")),
    )
    op.create_index("ix_study_job_job_id", "study_job", ["job_id"])

    op.create_table(
        "activation_shard",
        sa.Column("id", BIG, nullable=False),
        sa.Column("capture_id", BIG, nullable=False),
        sa.Column("block", sa.Integer(), nullable=False),
        sa.Column("blob", sa.String(), nullable=False),
        sa.Column("first_row", sa.Integer(), nullable=False),
        sa.Column("n_rows", sa.Integer(), nullable=False),
        sa.Column("d", sa.Integer(), nullable=False),
        sa.Column("dtype", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["blob"], ["blob.sha256"], name=op.f("fk_activation_shard_blob_blob")),
        sa.ForeignKeyConstraint(
            ["capture_id"],
            ["capture.id"],
            name=op.f("fk_activation_shard_capture_id_capture"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_activation_shard")),
        sa.UniqueConstraint(
            "capture_id", "block", "first_row", name=op.f("uq_activation_shard_capture_id_block_first_row")
        ),
    )
    op.create_index("ix_activation_shard_blob", "activation_shard", ["blob"])

    op.create_table(
        "coverage",
        sa.Column("analysis_id", BIG, nullable=False),
        sa.Column("block", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("signal_id", BIG, nullable=False),
        sa.Column("n_latents", sa.Integer(), nullable=False),
        sa.Column("n_live", sa.Integer(), nullable=False),
        sa.Column("n_kept", sa.Integer(), nullable=False),
        sa.Column("min_abs_r_kept", sa.Double(), nullable=True),
        sa.Column("r_threshold", sa.Double(), nullable=True),
        sa.Column("blob", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(
            ["analysis_id"],
            ["analysis.id"],
            name=op.f("fk_coverage_analysis_id_analysis"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["blob"], ["blob.sha256"], name=op.f("fk_coverage_blob_blob")),
        sa.ForeignKeyConstraint(["signal_id"], ["signal.id"], name=op.f("fk_coverage_signal_id_signal")),
        sa.PrimaryKeyConstraint("analysis_id", "block", "signal_id", name=op.f("pk_coverage")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_coverage_blob", "coverage", ["blob"])
    op.create_index("ix_coverage_signal_id", "coverage", ["signal_id"])

    op.create_table(
        "intervention",
        sa.Column("id", BIG, nullable=False),
        sa.Column("job_id", BIG, nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("model_id", BIG, nullable=False),
        sa.Column("sae_id", BIG, nullable=True),
        sa.Column("block", sa.Integer(), nullable=False),
        sa.Column("latents", sa.JSON(), nullable=False),
        sa.Column("operation", sa.String(), nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("target_signal", sa.String(), nullable=False),
        sa.Column("control", sa.String(), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_intervention_job_id_job"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["model_id"], ["model.id"], name=op.f("fk_intervention_model_id_model")),
        sa.ForeignKeyConstraint(["sae_id"], ["sae_checkpoint.id"], name=op.f("fk_intervention_sae_id_sae_checkpoint")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_intervention")),
        sa.UniqueConstraint("job_id", "name", name=op.f("uq_intervention_job_id_name")),
    )
    op.create_index("ix_intervention_sae_id", "intervention", ["sae_id"])

    op.create_table(
        "latent_correlation",
        sa.Column("analysis_id", BIG, nullable=False),
        sa.Column("block", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("signal_id", BIG, nullable=False),
        sa.Column("latent", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("sae_id", BIG, nullable=True),
        sa.Column("r", sa.Double(), nullable=False),
        sa.Column("r_selection", sa.Double(), nullable=True),
        sa.Column("r_heldout", sa.Double(), nullable=True),
        sa.Column("ci_low", sa.Double(), nullable=True),
        sa.Column("ci_high", sa.Double(), nullable=True),
        sa.Column("heldout_low", sa.Double(), nullable=True),
        sa.Column("heldout_high", sa.Double(), nullable=True),
        sa.Column("r_partial", sa.Double(), nullable=True),
        sa.Column("r_partial_heldout", sa.Double(), nullable=True),
        sa.Column("partial_low", sa.Double(), nullable=True),
        sa.Column("partial_high", sa.Double(), nullable=True),
        sa.Column("null_mean", sa.Double(), nullable=True),
        sa.Column("null_sd", sa.Double(), nullable=True),
        sa.Column("p_familywise", sa.Double(), nullable=True),
        sa.Column("q_value", sa.Double(), nullable=True),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("n_rollouts", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["analysis_id"],
            ["analysis.id"],
            name=op.f("fk_latent_correlation_analysis_id_analysis"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["sae_id"], ["sae_checkpoint.id"], name=op.f("fk_latent_correlation_sae_id_sae_checkpoint")
        ),
        sa.ForeignKeyConstraint(["signal_id"], ["signal.id"], name=op.f("fk_latent_correlation_signal_id_signal")),
        sa.PrimaryKeyConstraint("analysis_id", "block", "signal_id", "latent", name=op.f("pk_latent_correlation")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_latent_correlation_sae_id", "latent_correlation", ["sae_id"])
    op.create_index("ix_latent_correlation_signal_id", "latent_correlation", ["signal_id"])

    op.create_table(
        "sae_metric",
        sa.Column("sae_id", BIG, nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(
            ["sae_id"],
            ["sae_checkpoint.id"],
            name=op.f("fk_sae_metric_sae_id_sae_checkpoint"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("sae_id", "name", name=op.f("pk_sae_metric")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "behaviour_fit",
        sa.Column("id", BIG, nullable=False),
        sa.Column("job_id", BIG, nullable=False),
        sa.Column("task", sa.String(), nullable=False),
        sa.Column("model_id", BIG, nullable=True),
        sa.Column("policy", sa.String(), nullable=False),
        sa.Column("intervention_id", BIG, nullable=True),
        sa.Column("behaviour_model", sa.String(), nullable=False),
        sa.Column("n_choices", sa.Integer(), nullable=False),
        sa.Column("n_rollouts", sa.Integer(), nullable=False),
        sa.Column("n_parameters", sa.Integer(), nullable=False),
        sa.Column("beta", sa.Double(), nullable=True),
        sa.Column("nll", sa.Double(), nullable=False),
        sa.Column("aic", sa.Double(), nullable=False),
        sa.Column("bic", sa.Double(), nullable=False),
        sa.Column("chance_nll", sa.Double(), nullable=False),
        sa.Column("nll_minus_q", sa.Double(), nullable=True),
        sa.Column("ci_low", sa.Double(), nullable=True),
        sa.Column("ci_high", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(
            ["intervention_id"],
            ["intervention.id"],
            name=op.f("fk_behaviour_fit_intervention_id_intervention"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_behaviour_fit_job_id_job"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["model_id"], ["model.id"], name=op.f("fk_behaviour_fit_model_id_model")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_behaviour_fit")),
    )
    op.create_index("ix_behaviour_fit_intervention_id", "behaviour_fit", ["intervention_id"])
    op.create_index("ix_behaviour_fit_job_id", "behaviour_fit", ["job_id"])

    op.create_table(
        "intervention_effect",
        sa.Column("id", BIG, nullable=False),
        sa.Column("intervention_id", BIG, nullable=False),
        sa.Column("metric", sa.String(), nullable=False),
        sa.Column("block", sa.Integer(), nullable=True),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("baseline", sa.Double(), nullable=True),
        sa.Column("difference", sa.Double(), nullable=True),
        sa.Column("ci_low", sa.Double(), nullable=True),
        sa.Column("ci_high", sa.Double(), nullable=True),
        sa.Column("n_rollouts", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["intervention_id"],
            ["intervention.id"],
            name=op.f("fk_intervention_effect_intervention_id_intervention"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_intervention_effect")),
    )
    op.create_index(
        "ix_intervention_effect_intervention_id_metric",
        "intervention_effect",
        ["intervention_id", "metric"],
        unique=False,
    )

    op.create_table(
        "rollout",
        sa.Column("id", BIG, nullable=False),
        sa.Column("job_id", BIG, nullable=False),
        sa.Column("task_id", BIG, nullable=False),
        sa.Column("model_id", BIG, nullable=True),
        sa.Column("policy", sa.String(), nullable=False),
        sa.Column("intervention_id", BIG, nullable=True),
        sa.Column("seed", BIG, nullable=False),
        sa.Column("index", sa.Integer(), nullable=False),
        sa.Column("n_steps", sa.Integer(), nullable=False),
        sa.Column("transcript", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["intervention_id"],
            ["intervention.id"],
            name=op.f("fk_rollout_intervention_id_intervention"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_rollout_job_id_job"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["model_id"], ["model.id"], name=op.f("fk_rollout_model_id_model")),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name=op.f("fk_rollout_task_id_task")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rollout")),
        sa.UniqueConstraint(
            "job_id",
            "task_id",
            "policy",
            "intervention_id",
            "index",
            name=op.f("uq_rollout_job_id_task_id_policy_intervention_id_index"),
        ),
    )
    op.create_index("ix_rollout_intervention_id", "rollout", ["intervention_id"])
    op.create_index(
        "uq_rollout_without_intervention",
        "rollout",
        ["job_id", "task_id", "policy", "index"],
        unique=True,
        sqlite_where=sa.text("intervention_id IS NULL"),
        postgresql_where=sa.text("intervention_id IS NULL"),
    )

    op.create_table(
        "episode",
        sa.Column("id", BIG, nullable=False),
        sa.Column("rollout_id", BIG, nullable=False),
        sa.Column("index", sa.Integer(), nullable=False),
        sa.Column("return", sa.Double(), nullable=False),
        sa.Column("forced", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["rollout_id"], ["rollout.id"], name=op.f("fk_episode_rollout_id_rollout"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_episode")),
        sa.UniqueConstraint("rollout_id", "index", name=op.f("uq_episode_rollout_id_index")),
    )
    op.create_table(
        "step",
        sa.Column("id", BIG, nullable=False),
        sa.Column("episode_id", BIG, nullable=False),
        sa.Column("rollout_id", BIG, nullable=False),
        sa.Column("index", sa.Integer(), nullable=False),
        sa.Column("state", sa.Integer(), nullable=False),
        sa.Column("action", sa.Integer(), nullable=False),
        sa.Column("reward", sa.Double(), nullable=False),
        sa.Column("next_state", sa.Integer(), nullable=False),
        sa.Column("done", sa.Boolean(), nullable=False),
        sa.Column("forced", sa.Boolean(), nullable=False),
        sa.Column("p_chosen", sa.Double(), nullable=True),
        sa.Column("action_probabilities", sa.JSON(), nullable=True),
        sa.Column("token_position", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["episode_id"], ["episode.id"], name=op.f("fk_step_episode_id_episode"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["rollout_id"], ["rollout.id"], name=op.f("fk_step_rollout_id_rollout"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_step")),
        sa.UniqueConstraint("rollout_id", "index", name=op.f("uq_step_rollout_id_index")),
    )
    op.create_index("ix_step_episode_id", "step", ["episode_id"])

    op.create_table(
        "capture_row",
        sa.Column("capture_id", BIG, nullable=False),
        sa.Column("row", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("step_id", BIG, nullable=False),
        sa.ForeignKeyConstraint(
            ["capture_id"], ["capture.id"], name=op.f("fk_capture_row_capture_id_capture"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["step_id"], ["step.id"], name=op.f("fk_capture_row_step_id_step")),
        sa.PrimaryKeyConstraint("capture_id", "row", name=op.f("pk_capture_row")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_capture_row_step_id", "capture_row", ["step_id"])

    op.create_table(
        "learning_signal",
        sa.Column("job_id", BIG, nullable=False),
        sa.Column("signal_id", BIG, nullable=False),
        sa.Column("step_id", BIG, nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_learning_signal_job_id_job"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["signal_id"], ["signal.id"], name=op.f("fk_learning_signal_signal_id_signal")),
        sa.ForeignKeyConstraint(["step_id"], ["step.id"], name=op.f("fk_learning_signal_step_id_step")),
        sa.PrimaryKeyConstraint("job_id", "signal_id", "step_id", name=op.f("pk_learning_signal")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_learning_signal_step_id", "learning_signal", ["step_id"])
    op.create_table(
        "latent_activation",
        sa.Column("job_id", BIG, nullable=False),
        sa.Column("sae_id", BIG, nullable=False),
        sa.Column("latent", sa.Integer(), nullable=False),
        sa.Column("signal_id", BIG, nullable=False),
        sa.Column("step_id", BIG, nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"], ["job.id"], name=op.f("fk_latent_activation_job_id_job"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["sae_id"], ["sae_checkpoint.id"], name=op.f("fk_latent_activation_sae_id_sae_checkpoint")
        ),
        sa.ForeignKeyConstraint(["signal_id"], ["signal.id"], name=op.f("fk_latent_activation_signal_id_signal")),
        sa.ForeignKeyConstraint(["step_id"], ["step.id"], name=op.f("fk_latent_activation_step_id_step")),
        sa.PrimaryKeyConstraint(
            "job_id", "sae_id", "latent", "signal_id", "step_id", name=op.f("pk_latent_activation")
        ),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_latent_activation_step_id", "latent_activation", ["step_id"])

    for view in _views():
        op.execute(view)


def downgrade() -> None:
    for view in reversed(_views()):
        op.execute(view.split(" AS\n", 1)[0].replace("CREATE", "DROP", 1))
    for table in reversed(TABLES):
        op.drop_table(table)


def _views() -> list[str]:
    text = VIEWS.read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("--")]
    return [view.strip() for view in "\n".join(lines).split(";") if view.strip()]
