-- The views of the record: names resolved, each study's current revision only. The same text on SQLite and PostgreSQL.

CREATE VIEW v_study_job AS
SELECT study.name AS study, study_job.job_id AS job_id
FROM study
JOIN study_job ON study_job.study_id = study.id
WHERE study.is_current;

CREATE VIEW v_study AS
SELECT
    study.name AS study,
    study.revision AS revision,
    study.title AS title,
    study.config AS config,
    study.created_at AS created,
    (SELECT count(*) FROM study_job WHERE study_job.study_id = study.id) AS jobs,
    (SELECT count(*) FROM study_job JOIN job ON job.id = study_job.job_id
     WHERE study_job.study_id = study.id AND job.state = 'done') AS jobs_done,
    (SELECT count(*) FROM study_job JOIN job ON job.id = study_job.job_id
     WHERE study_job.study_id = study.id AND job.state = 'failed') AS jobs_failed
FROM study
WHERE study.is_current;

CREATE VIEW v_submission AS
SELECT
    submission.id AS submission,
    study.name AS study,
    study.revision AS revision,
    submission.executor AS executor,
    submission.settings AS settings,
    submission.scheduler_id AS scheduler_id,
    submission.submitted_at AS submitted
FROM submission
JOIN study ON study.id = submission.study_id;

CREATE VIEW v_worker AS
SELECT
    worker.id AS worker,
    worker.owner AS owner,
    worker.submission_id AS submission,
    study.name AS study,
    worker.state AS state,
    job.stage AS stage,
    job.key AS key,
    worker.activity AS activity,
    worker.progress AS progress,
    worker.published AS published,
    worker.started_at AS started,
    worker.seen_at AS seen
FROM worker
LEFT JOIN study ON study.id = worker.study_id
LEFT JOIN job ON job.id = worker.job_id;

CREATE VIEW v_job AS
SELECT
    current.study AS study,
    job.id AS job,
    job.stage AS stage,
    job.key AS key,
    job.identity AS identity,
    job.state AS state,
    job.config AS config,
    job.git_commit AS git_commit,
    job.git_dirty AS git_dirty,
    job.versions AS versions,
    job.seed AS seed,
    job.device AS device,
    job.started_at AS started,
    job.finished_at AS finished,
    job.attempt AS attempt,
    job.owner AS owner,
    job.lease_until AS lease_until,
    job.error AS error
FROM job
JOIN v_study_job AS current ON current.job_id = job.id;

CREATE VIEW v_model AS
SELECT DISTINCT
    current.study AS study,
    model.name AS model,
    model.source AS source,
    model.fingerprint AS fingerprint,
    model.architecture AS architecture,
    model.n_blocks AS n_blocks,
    model.d_model AS d_model,
    model.n_parameters AS n_parameters,
    model.dtype AS dtype
FROM model
JOIN capture ON capture.model_id = model.id
JOIN v_study_job AS current ON current.job_id = capture.job_id;

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
    episode."return" AS "return"
FROM episode
JOIN rollout ON rollout.id = episode.rollout_id
JOIN v_study_job AS current ON current.job_id = rollout.job_id
JOIN task ON task.id = rollout.task_id
LEFT JOIN model ON model.id = rollout.model_id
LEFT JOIN intervention ON intervention.id = rollout.intervention_id;

CREATE VIEW v_step AS
SELECT
    current.study AS study,
    task.name AS task,
    task.variant AS variant,
    model.name AS model,
    rollout.policy AS policy,
    coalesce(intervention.name, 'none') AS intervention,
    rollout.id AS rollout,
    rollout."index" AS rollout_index,
    episode."index" AS episode,
    step."index" AS step,
    step.state AS state,
    step.action AS action,
    step.reward AS reward,
    step.next_state AS next_state,
    step.done AS done,
    step.forced AS forced,
    step.p_chosen AS p_chosen,
    step.token_position AS token_position
FROM step
JOIN episode ON episode.id = step.episode_id
JOIN rollout ON rollout.id = step.rollout_id
JOIN v_study_job AS current ON current.job_id = rollout.job_id
JOIN task ON task.id = rollout.task_id
LEFT JOIN model ON model.id = rollout.model_id
LEFT JOIN intervention ON intervention.id = rollout.intervention_id;

CREATE VIEW v_learning_signal AS
SELECT
    current.study AS study,
    task.name AS task,
    task.variant AS variant,
    model.name AS model,
    rollout.policy AS policy,
    coalesce(intervention.name, 'none') AS intervention,
    rollout.id AS rollout,
    rollout."index" AS rollout_index,
    episode."index" AS episode,
    step."index" AS step,
    signal.name AS signal,
    signal.agent AS agent,
    learning_signal.value AS value
FROM learning_signal
JOIN v_study_job AS current ON current.job_id = learning_signal.job_id
JOIN signal ON signal.id = learning_signal.signal_id
JOIN step ON step.id = learning_signal.step_id
JOIN episode ON episode.id = step.episode_id
JOIN rollout ON rollout.id = step.rollout_id
JOIN task ON task.id = rollout.task_id
LEFT JOIN model ON model.id = rollout.model_id
LEFT JOIN intervention ON intervention.id = rollout.intervention_id;

CREATE VIEW v_latent_activation AS
SELECT
    current.study AS study,
    task.name AS task,
    task.variant AS variant,
    model.name AS model,
    rollout.policy AS policy,
    coalesce(intervention.name, 'none') AS intervention,
    rollout.id AS rollout,
    rollout."index" AS rollout_index,
    episode."index" AS episode,
    step."index" AS step,
    sae_checkpoint.name AS sae,
    sae_checkpoint.block AS block,
    latent_activation.latent AS latent,
    signal.name AS signal,
    latent_activation.value AS value
FROM latent_activation
JOIN v_study_job AS current ON current.job_id = latent_activation.job_id
JOIN sae_checkpoint ON sae_checkpoint.id = latent_activation.sae_id
JOIN signal ON signal.id = latent_activation.signal_id
JOIN step ON step.id = latent_activation.step_id
JOIN episode ON episode.id = step.episode_id
JOIN rollout ON rollout.id = step.rollout_id
JOIN task ON task.id = rollout.task_id
LEFT JOIN model ON model.id = rollout.model_id
LEFT JOIN intervention ON intervention.id = rollout.intervention_id;

CREATE VIEW v_activation_shard AS
SELECT
    current.study AS study,
    model.name AS model,
    capture.id AS capture,
    capture.positions AS positions,
    capture.hook AS hook,
    activation_shard.block AS block,
    activation_shard.first_row AS first_row,
    activation_shard.n_rows AS n_rows,
    activation_shard.d AS d,
    activation_shard.dtype AS dtype,
    blob.sha256 AS blob,
    blob.suffix AS suffix,
    blob.bytes AS bytes
FROM activation_shard
JOIN capture ON capture.id = activation_shard.capture_id
JOIN v_study_job AS current ON current.job_id = capture.job_id
JOIN model ON model.id = capture.model_id
JOIN blob ON blob.sha256 = activation_shard.blob;

CREATE VIEW v_sae AS
SELECT
    current.study AS study,
    model.name AS model,
    sae_checkpoint.name AS sae,
    sae_checkpoint.block AS block,
    sae_checkpoint.architecture AS architecture,
    sae_checkpoint.d_in AS d_in,
    sae_checkpoint.d_latents AS d_latents,
    sae_checkpoint.config AS config,
    sae_checkpoint.seed AS seed,
    metric.explained_variance AS explained_variance,
    metric.fvu AS fvu,
    metric.l0 AS l0,
    metric.live AS live,
    metric.dead AS dead,
    metric.non_constant AS non_constant,
    blob.sha256 AS blob,
    blob.bytes AS bytes
FROM sae_checkpoint
JOIN v_study_job AS current ON current.job_id = sae_checkpoint.job_id
JOIN model ON model.id = sae_checkpoint.model_id
JOIN blob ON blob.sha256 = sae_checkpoint.blob
LEFT JOIN (
    SELECT
        sae_id,
        max(CASE WHEN name = 'explained_variance' THEN value END) AS explained_variance,
        max(CASE WHEN name = 'fvu' THEN value END) AS fvu,
        max(CASE WHEN name = 'l0' THEN value END) AS l0,
        max(CASE WHEN name = 'live' THEN value END) AS live,
        max(CASE WHEN name = 'dead' THEN value END) AS dead,
        max(CASE WHEN name = 'non_constant' THEN value END) AS non_constant
    FROM sae_metric
    GROUP BY sae_id
) AS metric ON metric.sae_id = sae_checkpoint.id;

CREATE VIEW v_correlation AS
SELECT
    current.study AS study,
    analysis.task AS task,
    model.name AS model,
    analysis.source AS source,
    coalesce(sae_checkpoint.name, analysis.sae_name) AS sae,
    latent_correlation.block AS block,
    latent_correlation.latent AS latent,
    signal.name AS signal,
    latent_correlation.r AS r,
    latent_correlation.r_selection AS r_selection,
    latent_correlation.r_heldout AS r_heldout,
    latent_correlation.ci_low AS ci_low,
    latent_correlation.ci_high AS ci_high,
    latent_correlation.heldout_low AS heldout_low,
    latent_correlation.heldout_high AS heldout_high,
    latent_correlation.r_partial AS r_partial,
    latent_correlation.r_partial_heldout AS r_partial_heldout,
    latent_correlation.partial_low AS partial_low,
    latent_correlation.partial_high AS partial_high,
    latent_correlation.null_mean AS null_mean,
    latent_correlation.null_sd AS null_sd,
    latent_correlation.p_familywise AS p_familywise,
    latent_correlation.q_value AS q_value,
    latent_correlation.n AS n,
    latent_correlation.n_rollouts AS n_rollouts
FROM latent_correlation
JOIN analysis ON analysis.id = latent_correlation.analysis_id
JOIN v_study_job AS current ON current.job_id = analysis.job_id
JOIN model ON model.id = analysis.model_id
JOIN signal ON signal.id = latent_correlation.signal_id
LEFT JOIN sae_checkpoint ON sae_checkpoint.id = latent_correlation.sae_id;

CREATE VIEW v_latent_correlation AS
SELECT
    study, task, model, sae, block, latent, signal, r, r_heldout, ci_low, ci_high, heldout_low, heldout_high,
    r_partial, r_partial_heldout, partial_low, partial_high, p_familywise, q_value, n, n_rollouts
FROM v_correlation
WHERE source = 'sae';

CREATE VIEW v_coverage AS
SELECT
    current.study AS study,
    analysis.task AS task,
    model.name AS model,
    analysis.source AS source,
    analysis.sae_name AS sae,
    coverage.block AS block,
    signal.name AS signal,
    coverage.n_latents AS n_latents,
    coverage.n_live AS n_live,
    coverage.n_kept AS n_kept,
    coverage.min_abs_r_kept AS min_abs_r_kept,
    coverage.r_threshold AS r_threshold,
    analysis.n AS n,
    analysis.n_rollouts AS n_rollouts,
    analysis.family_size AS family_size,
    analysis.n_permutations AS n_permutations,
    analysis.alpha AS alpha,
    analysis.threshold_z AS threshold_z,
    analysis.covariates AS covariates,
    coverage.blob AS blob
FROM coverage
JOIN analysis ON analysis.id = coverage.analysis_id
JOIN v_study_job AS current ON current.job_id = analysis.job_id
JOIN model ON model.id = analysis.model_id
JOIN signal ON signal.id = coverage.signal_id;

CREATE VIEW v_intervention AS
SELECT
    current.study AS study,
    model.name AS model,
    intervention.name AS intervention,
    intervention.control AS control,
    sae_checkpoint.name AS sae,
    intervention.block AS block,
    intervention.latents AS latents,
    intervention.operation AS operation,
    intervention.value AS value,
    intervention.target_signal AS target_signal,
    intervention.description AS description
FROM intervention
JOIN v_study_job AS current ON current.job_id = intervention.job_id
JOIN model ON model.id = intervention.model_id
LEFT JOIN sae_checkpoint ON sae_checkpoint.id = intervention.sae_id;

CREATE VIEW v_intervention_effect AS
SELECT
    current.study AS study,
    played.task AS task,
    model.name AS model,
    intervention.name AS intervention,
    intervention.control AS control,
    intervention.target_signal AS target_signal,
    intervention.block AS block,
    intervention.operation AS operation,
    intervention_effect.metric AS metric,
    intervention_effect.block AS effect_block,
    intervention_effect.value AS value,
    intervention_effect.baseline AS baseline,
    intervention_effect.difference AS difference,
    intervention_effect.ci_low AS ci_low,
    intervention_effect.ci_high AS ci_high,
    intervention_effect.n_rollouts AS n_rollouts
FROM intervention_effect
JOIN intervention ON intervention.id = intervention_effect.intervention_id
JOIN v_study_job AS current ON current.job_id = intervention.job_id
JOIN model ON model.id = intervention.model_id
LEFT JOIN (
    -- An intervention played on several tasks has no one task.
    SELECT rollout.intervention_id, CASE WHEN min(task.name) = max(task.name) THEN min(task.name) END AS task
    FROM rollout
    JOIN task ON task.id = rollout.task_id
    WHERE rollout.intervention_id IS NOT NULL
    GROUP BY rollout.intervention_id
) AS played ON played.intervention_id = intervention.id;

CREATE VIEW v_behaviour_fit AS
SELECT
    current.study AS study,
    behaviour_fit.task AS task,
    model.name AS model,
    behaviour_fit.policy AS policy,
    coalesce(intervention.name, 'none') AS intervention,
    behaviour_fit.behaviour_model AS behaviour_model,
    behaviour_fit.n_choices AS n_choices,
    behaviour_fit.n_rollouts AS n_rollouts,
    behaviour_fit.n_parameters AS n_parameters,
    behaviour_fit.beta AS beta,
    behaviour_fit.nll AS nll,
    behaviour_fit.aic AS aic,
    behaviour_fit.bic AS bic,
    behaviour_fit.chance_nll AS chance_nll,
    behaviour_fit.nll_minus_q AS nll_minus_q,
    behaviour_fit.ci_low AS ci_low,
    behaviour_fit.ci_high AS ci_high
FROM behaviour_fit
JOIN v_study_job AS current ON current.job_id = behaviour_fit.job_id
LEFT JOIN model ON model.id = behaviour_fit.model_id
LEFT JOIN intervention ON intervention.id = behaviour_fit.intervention_id;
