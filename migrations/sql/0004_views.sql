-- The views that 0004 adds, and v_step with the probability of every action; the others are as in 0002 and 0003.
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
    step.action_probabilities AS action_probabilities,
    step.token_position AS token_position
FROM step
JOIN episode ON episode.id = step.episode_id
JOIN rollout ON rollout.id = step.rollout_id
JOIN v_study_job AS current ON current.job_id = rollout.job_id
JOIN task ON task.id = rollout.task_id
LEFT JOIN model ON model.id = rollout.model_id
LEFT JOIN intervention ON intervention.id = rollout.intervention_id;

CREATE VIEW v_intervention_latent AS
SELECT
    current.study AS study,
    model.name AS model,
    intervention.name AS intervention,
    intervention.control AS control,
    sae_checkpoint.name AS sae,
    intervention_latent.block AS block,
    intervention_latent.latent AS latent,
    intervention.operation AS operation,
    intervention.value AS value,
    intervention.target_signal AS target_signal
FROM intervention_latent
JOIN intervention ON intervention.id = intervention_latent.intervention_id
JOIN v_study_job AS current ON current.job_id = intervention.job_id
JOIN model ON model.id = intervention.model_id
JOIN sae_checkpoint ON sae_checkpoint.id = intervention_latent.sae_id;

CREATE VIEW v_block_measure AS
SELECT
    current.study AS study,
    block_measure.task AS task,
    model.name AS model,
    block_measure.block AS block,
    block_measure.source AS source,
    block_measure.sae_name AS sae,
    block_measure.measure AS measure,
    block_measure.signal AS signal,
    coalesce(intervention.name, 'none') AS intervention,
    block_measure.value AS value,
    block_measure.ci_low AS ci_low,
    block_measure.ci_high AS ci_high,
    block_measure.null_mean AS null_mean,
    block_measure.null_threshold AS null_threshold,
    block_measure.n_rollouts AS n_rollouts
FROM block_measure
JOIN v_study_job AS current ON current.job_id = block_measure.job_id
JOIN model ON model.id = block_measure.model_id
LEFT JOIN intervention ON intervention.id = block_measure.intervention_id;

CREATE VIEW v_map_point AS
SELECT
    current.study AS study,
    map_point.block AS block,
    map_point.method AS method,
    map_point.source AS source,
    map_point.rollout_index AS rollout_index,
    coalesce(intervention.name, 'none') AS intervention,
    map_point.item AS item,
    map_point.label AS label,
    map_point.grp AS grp,
    map_point.x AS x,
    map_point.y AS y
FROM map_point
JOIN v_study_job AS current ON current.job_id = map_point.job_id
LEFT JOIN intervention ON intervention.id = map_point.intervention_id;

CREATE VIEW v_published_point AS
SELECT
    current.study AS study,
    published_point.source AS source,
    published_point.figure AS figure,
    published_point.series AS series,
    published_point.x AS x,
    published_point.y AS y,
    published_point.low AS low,
    published_point.high AS high
FROM published_point
JOIN v_study_job AS current ON current.job_id = published_point.job_id;
