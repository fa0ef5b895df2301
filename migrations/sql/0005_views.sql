-- The views that 0005 adds, and v_episode with how each episode ended; the others are as in 0002, 0003 and 0004.
CREATE VIEW v_episode AS
SELECT
    current.study AS study,
    task.name AS task,
    task.variant AS variant,
    model.name AS model,
    rollout.policy AS policy,
    coalesce(intervention.name, 'none') AS intervention,
    rollout.id AS rollout,
    rollout."index" AS rollout_index,
    rollout.seed AS seed,
    episode."index" AS episode,
    episode.forced AS forced,
    episode."return" AS "return",
    episode.outcome AS outcome
FROM episode
JOIN rollout ON rollout.id = episode.rollout_id
JOIN v_study_job AS current ON current.job_id = rollout.job_id
JOIN task ON task.id = rollout.task_id
LEFT JOIN model ON model.id = rollout.model_id
LEFT JOIN intervention ON intervention.id = rollout.intervention_id;

CREATE VIEW v_model_metric AS
SELECT
    current.study AS study,
    model.name AS model,
    model_metric.name AS metric,
    model_metric.value AS value,
    model_metric.ci_low AS ci_low,
    model_metric.ci_high AS ci_high,
    model_metric.n AS n
FROM model_metric
JOIN v_study_job AS current ON current.job_id = model_metric.job_id
JOIN model ON model.id = model_metric.model_id;

CREATE VIEW v_latent_measure AS
SELECT
    current.study AS study,
    model.name AS model,
    sae_checkpoint.name AS sae,
    sae_checkpoint.block AS block,
    latent_measure.latent AS latent,
    latent_measure.name AS measure,
    latent_measure.value AS value
FROM latent_measure
JOIN v_study_job AS current ON current.job_id = latent_measure.job_id
JOIN sae_checkpoint ON sae_checkpoint.id = latent_measure.sae_id
JOIN model ON model.id = sae_checkpoint.model_id;

CREATE VIEW v_latent_predicate AS
SELECT
    current.study AS study,
    model.name AS model,
    latent_predicate.source AS source,
    sae_checkpoint.name AS sae,
    latent_predicate.block AS block,
    latent_predicate.latent AS latent,
    latent_predicate.predicate AS predicate,
    latent_predicate.family AS family,
    latent_predicate.f1 AS f1,
    latent_predicate."precision" AS "precision",
    latent_predicate.recall AS recall,
    latent_predicate.f1_heldout AS f1_heldout,
    latent_predicate.ci_low AS ci_low,
    latent_predicate.ci_high AS ci_high,
    latent_predicate.null_mean AS null_mean,
    latent_predicate.null_threshold AS null_threshold,
    latent_predicate.z AS z,
    latent_predicate.p_familywise AS p_familywise,
    latent_predicate.n_true AS n_true,
    latent_predicate.n_fired AS n_fired,
    latent_predicate.matched_pairs AS matched_pairs,
    latent_predicate.matched_share AS matched_share,
    latent_predicate.matched_low AS matched_low,
    latent_predicate.matched_high AS matched_high,
    latent_predicate.added_share AS added_share,
    latent_predicate.added_low AS added_low,
    latent_predicate.added_high AS added_high,
    latent_predicate.decoder_f1 AS decoder_f1
FROM latent_predicate
JOIN v_study_job AS current ON current.job_id = latent_predicate.job_id
JOIN model ON model.id = latent_predicate.model_id
LEFT JOIN sae_checkpoint ON sae_checkpoint.id = latent_predicate.sae_id;

CREATE VIEW v_latent_example AS
SELECT
    current.study AS study,
    model.name AS model,
    sae_checkpoint.name AS sae,
    sae_checkpoint.block AS block,
    latent_example.latent AS latent,
    latent_example.rank AS rank,
    latent_example.state AS state,
    latent_example.value AS value,
    latent_example.q_effect AS q_effect
FROM latent_example
JOIN v_study_job AS current ON current.job_id = latent_example.job_id
JOIN sae_checkpoint ON sae_checkpoint.id = latent_example.sae_id
JOIN model ON model.id = sae_checkpoint.model_id;
