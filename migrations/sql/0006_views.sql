-- The views that 0006 adds, and v_model with models whose heads were ablated; the others are as in 0002 to 0005.
-- A head's name is layer.head as in the literature, with layers from 0 on where blocks count from 1.
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
JOIN (
    SELECT job_id, model_id FROM capture
    UNION
    SELECT job_id, model_id FROM head_score
) AS used ON used.model_id = model.id
JOIN v_study_job AS current ON current.job_id = used.job_id;

CREATE VIEW v_head_score AS
SELECT
    current.study AS study,
    task.variant AS task,
    model.name AS model,
    head_score.ablation AS ablation,
    head_score.split AS split,
    head_score.seed AS seed,
    head_score.block AS block,
    head_score.block - 1 AS layer,
    head_score.head AS head,
    CAST(head_score.block - 1 AS TEXT) || '.' || CAST(head_score.head AS TEXT) AS name,
    head_score.task_damage AS task_damage,
    head_score.control_damage AS control_damage,
    head_score.score AS score,
    head_score.attribution AS attribution
FROM head_score
JOIN v_study_job AS current ON current.job_id = head_score.job_id
JOIN task ON task.id = head_score.task_id
JOIN model ON model.id = head_score.model_id;

CREATE VIEW v_head_measure AS
SELECT
    current.study AS study,
    head_measure.task AS task,
    model.name AS model,
    head_measure.measure AS measure,
    head_measure.block AS block,
    head_measure.block - 1 AS layer,
    head_measure.head AS head,
    CAST(head_measure.block - 1 AS TEXT) || '.' || CAST(head_measure.head AS TEXT) AS name,
    head_measure.value AS value
FROM head_measure
JOIN v_study_job AS current ON current.job_id = head_measure.job_id
JOIN model ON model.id = head_measure.model_id;

CREATE VIEW v_head_label AS
SELECT
    current.study AS study,
    head_label.task AS task,
    model.name AS model,
    head_label.label AS label,
    head_label.block AS block,
    head_label.block - 1 AS layer,
    head_label.head AS head,
    CAST(head_label.block - 1 AS TEXT) || '.' || CAST(head_label.head AS TEXT) AS name,
    head_label.source AS source
FROM head_label
JOIN v_study_job AS current ON current.job_id = head_label.job_id
JOIN model ON model.id = head_label.model_id;

CREATE VIEW v_head_pair AS
SELECT
    current.study AS study,
    task.variant AS task,
    model.name AS model,
    head_pair.seed AS seed,
    head_pair.block AS block,
    head_pair.block - 1 AS layer,
    head_pair.head AS head,
    CAST(head_pair.block - 1 AS TEXT) || '.' || CAST(head_pair.head AS TEXT) AS name,
    head_pair.other_block AS other_block,
    head_pair.other_block - 1 AS other_layer,
    head_pair.other_head AS other_head,
    CAST(head_pair.other_block - 1 AS TEXT) || '.' || CAST(head_pair.other_head AS TEXT) AS other_name,
    head_pair.damage AS damage,
    head_pair.excess AS excess
FROM head_pair
JOIN v_study_job AS current ON current.job_id = head_pair.job_id
JOIN task ON task.id = head_pair.task_id
JOIN model ON model.id = head_pair.model_id;

CREATE VIEW v_circuit_search AS
SELECT
    current.study AS study,
    model.name AS model,
    circuit_search.name AS search,
    circuit_search.method AS method,
    circuit_search.best_of AS best_of,
    circuit_search.seed AS seed,
    circuit_search.transitions AS transitions,
    circuit_search.forward_passes AS forward_passes,
    circuit_search.parameters AS parameters,
    policy.blob AS blob
FROM circuit_search
JOIN v_study_job AS current ON current.job_id = circuit_search.job_id
JOIN model ON model.id = circuit_search.model_id
LEFT JOIN artifact AS policy ON policy.job_id = circuit_search.job_id AND policy.name = 'policy';

CREATE VIEW v_search_progress AS
SELECT
    current.study AS study,
    task.variant AS task,
    model.name AS model,
    circuit_search.name AS search,
    circuit_search.method AS method,
    circuit_search.best_of AS best_of,
    circuit_search.seed AS seed,
    search_progress.transitions AS transitions,
    search_progress.best_score AS best_score,
    search_progress.n_episodes AS n_episodes
FROM search_progress
JOIN circuit_search ON circuit_search.id = search_progress.search_id
JOIN v_study_job AS current ON current.job_id = circuit_search.job_id
JOIN task ON task.id = search_progress.task_id
JOIN model ON model.id = circuit_search.model_id;

CREATE VIEW v_search_episode AS
SELECT
    current.study AS study,
    task.variant AS task,
    model.name AS model,
    circuit_search.name AS search,
    circuit_search.method AS method,
    circuit_search.best_of AS trained_best_of,
    circuit_search.seed AS seed,
    search_episode.task_code AS task_code,
    search_episode.best_of AS best_of,
    rollout."index" AS episode,
    rollout.id AS rollout,
    search_episode.best_score AS best_score,
    search_episode.oracle AS oracle,
    CASE WHEN search_episode.oracle > 0 THEN search_episode.best_score / search_episode.oracle END AS share,
    search_episode.forward_passes AS forward_passes,
    CAST(search_episode.best_block - 1 AS TEXT) || '.' || CAST(search_episode.best_head AS TEXT) AS best_head,
    CAST(search_episode.oracle_block - 1 AS TEXT) || '.' || CAST(search_episode.oracle_head AS TEXT) AS oracle_head,
    search_episode.best_by_pass AS best_by_pass
FROM search_episode
JOIN rollout ON rollout.id = search_episode.rollout_id
JOIN v_study_job AS current ON current.job_id = rollout.job_id
JOIN circuit_search ON circuit_search.id = search_episode.search_id
JOIN task ON task.id = rollout.task_id
JOIN model ON model.id = circuit_search.model_id;

CREATE VIEW v_search_step AS
SELECT
    current.study AS study,
    task.variant AS task,
    model.name AS model,
    circuit_search.name AS search,
    circuit_search.method AS method,
    circuit_search.best_of AS trained_best_of,
    circuit_search.seed AS seed,
    search_episode.task_code AS task_code,
    search_episode.best_of AS best_of,
    rollout."index" AS episode,
    step."index" AS step,
    CAST(step.action / circuit_search.n_heads AS TEXT) || '.' || CAST(step.action % circuit_search.n_heads AS TEXT)
        AS head,
    step.reward AS score,
    search_step.best_score AS best_score,
    search_episode.oracle AS oracle,
    search_step.forward_passes AS forward_passes
FROM search_step
JOIN step ON step.id = search_step.step_id
JOIN rollout ON rollout.id = step.rollout_id
JOIN v_study_job AS current ON current.job_id = rollout.job_id
JOIN search_episode ON search_episode.rollout_id = rollout.id
JOIN circuit_search ON circuit_search.id = search_episode.search_id
JOIN task ON task.id = rollout.task_id
JOIN model ON model.id = circuit_search.model_id;

CREATE VIEW v_planted_circuit AS
SELECT
    current.study AS study,
    planted_circuit.model AS model,
    planted_circuit.block AS block,
    planted_circuit.block - 1 AS layer,
    planted_circuit.head AS head,
    CAST(planted_circuit.block - 1 AS TEXT) || '.' || CAST(planted_circuit.head AS TEXT) AS name,
    planted_circuit.role AS role,
    planted_circuit.score AS score,
    planted_circuit.pair_excess AS pair_excess,
    planted_circuit.found_rank AS found_rank
FROM planted_circuit
JOIN v_study_job AS current ON current.job_id = planted_circuit.job_id;
