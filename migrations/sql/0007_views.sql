-- The views that 0007 adds, and v_model with models that were trained or whose concept vectors were read; the others are
-- as in 0002 to 0006. A training of NULL is the model before any training in the maze.
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
    UNION
    SELECT job_id, base_id FROM maze_training
    UNION
    SELECT job_id, model_id FROM maze_training
    UNION
    SELECT job_id, model_id FROM concept_vector
) AS used ON used.model_id = model.id
JOIN v_study_job AS current ON current.job_id = used.job_id;

CREATE VIEW v_maze_training AS
SELECT
    current.study AS study,
    maze_training.name AS training,
    base.name AS base,
    model.name AS model,
    maze_training.algorithm AS algorithm,
    maze_training.variant AS variant,
    maze_training.shuffled AS shuffled,
    maze_training.steps AS steps,
    maze_training.seed AS seed,
    maze_training.parameters AS parameters
FROM maze_training
JOIN v_study_job AS current ON current.job_id = maze_training.job_id
JOIN model AS base ON base.id = maze_training.base_id
JOIN model ON model.id = maze_training.model_id;

CREATE VIEW v_maze_progress AS
SELECT
    current.study AS study,
    maze_training.name AS training,
    maze_progress.step AS step,
    maze_progress.mean_return AS mean_return,
    maze_progress.golds AS golds,
    maze_progress.molds AS molds,
    maze_progress.entropy AS entropy,
    maze_progress.loss AS loss,
    maze_progress.gradient AS gradient,
    maze_progress.equalised_entropy AS equalised_entropy,
    maze_progress.clipped AS clipped,
    maze_progress.learning_rate AS learning_rate
FROM maze_progress
JOIN maze_training ON maze_training.id = maze_progress.training_id
JOIN v_study_job AS current ON current.job_id = maze_training.job_id;

CREATE VIEW v_maze_checkpoint AS
SELECT
    current.study AS study,
    maze_training.name AS training,
    maze_checkpoint.step AS step,
    model.name AS model
FROM maze_checkpoint
JOIN maze_training ON maze_training.id = maze_checkpoint.training_id
JOIN v_study_job AS current ON current.job_id = maze_training.job_id
JOIN model ON model.id = maze_checkpoint.model_id;

CREATE VIEW v_concept_vector AS
SELECT
    current.study AS study,
    model.name AS model,
    concept_vector.training AS training,
    concept_vector.step AS step,
    concept_vector.variant AS variant,
    concept_vector.concept AS concept,
    concept_vector.block AS block,
    concept_vector.norm AS norm,
    concept_vector.stream_norm AS stream_norm,
    concept_vector.auroc AS auroc,
    concept_vector.cohen_d AS cohen_d,
    concept_vector.overlap AS overlap,
    concept_vector.chosen AS chosen,
    concept_vector.n AS n,
    concept_vector.blob AS blob
FROM concept_vector
JOIN v_study_job AS current ON current.job_id = concept_vector.job_id
JOIN model ON model.id = concept_vector.model_id;

CREATE VIEW v_concept_cosine AS
SELECT
    current.study AS study,
    model.name AS model,
    concept_cosine.training AS training,
    concept_cosine.step AS step,
    concept_cosine.variant AS variant,
    concept_cosine.concept AS concept,
    concept_cosine.other AS other,
    concept_cosine.block AS block,
    concept_cosine.cosine AS cosine
FROM concept_cosine
JOIN v_study_job AS current ON current.job_id = concept_cosine.job_id
JOIN model ON model.id = concept_cosine.model_id;

CREATE VIEW v_concept_token AS
SELECT
    current.study AS study,
    concept_token.training AS training,
    concept_token.variant AS variant,
    concept_token.concept AS concept,
    concept_token.block AS block,
    concept_token.sign AS sign,
    concept_token.rank AS rank,
    concept_token.token AS token,
    concept_token.logit AS logit
FROM concept_token
JOIN v_study_job AS current ON current.job_id = concept_token.job_id;

CREATE VIEW v_emotion_cosine AS
SELECT
    current.study AS study,
    model.name AS model,
    emotion_cosine.training AS training,
    emotion_cosine.variant AS variant,
    emotion_cosine.concept AS concept,
    emotion_cosine.emotion AS emotion,
    emotion_cosine.block AS block,
    emotion_cosine.cosine AS cosine,
    emotion_cosine.valence AS valence
FROM emotion_cosine
JOIN v_study_job AS current ON current.job_id = emotion_cosine.job_id
JOIN model ON model.id = emotion_cosine.model_id;

CREATE VIEW v_emotion_component AS
SELECT
    current.study AS study,
    model.name AS model,
    emotion_component.training AS training,
    emotion_component.variant AS variant,
    emotion_component.concept AS concept,
    emotion_component.component AS component,
    emotion_component.block AS block,
    emotion_component.explained AS explained,
    emotion_component.valence_r AS valence_r,
    emotion_component.projection AS projection,
    emotion_component.cosine AS cosine,
    emotion_component.null_low AS null_low,
    emotion_component.null_high AS null_high
FROM emotion_component
JOIN v_study_job AS current ON current.job_id = emotion_component.job_id
JOIN model ON model.id = emotion_component.model_id;

CREATE VIEW v_goal_tracking AS
SELECT
    current.study AS study,
    goal_tracking.training AS training,
    goal_tracking.source AS source,
    goal_tracking.reader AS reader,
    goal_tracking.panel AS panel,
    goal_tracking.concept AS concept,
    goal_tracking.block AS block,
    goal_tracking.d AS d,
    goal_tracking.ci_low AS ci_low,
    goal_tracking.ci_high AS ci_high,
    goal_tracking.n AS n,
    goal_tracking.n_other AS n_other,
    goal_tracking.histogram AS histogram
FROM goal_tracking
JOIN v_study_job AS current ON current.job_id = goal_tracking.job_id;

CREATE VIEW v_steering_effect AS
SELECT
    current.study AS study,
    steering_effect.training AS training,
    steering_effect.reader AS reader,
    steering_effect.concept AS concept,
    steering_effect.source AS source,
    steering_effect.draw AS draw,
    steering_effect.block AS block,
    steering_effect.dose_kind AS dose_kind,
    steering_effect.dose AS dose,
    steering_effect.norm AS norm,
    steering_effect.evaluation AS evaluation,
    steering_effect.measure AS measure,
    steering_effect."group" AS grp,
    steering_effect.value AS value,
    steering_effect.ci_low AS ci_low,
    steering_effect.ci_high AS ci_high,
    steering_effect.incoherent AS incoherent,
    steering_effect.n AS n,
    steering_effect.judge AS judge
FROM steering_effect
JOIN v_study_job AS current ON current.job_id = steering_effect.job_id;

CREATE VIEW v_steered_text AS
SELECT
    current.study AS study,
    steering.training AS training,
    steering.reader AS reader,
    steering.concept AS concept,
    steering.source AS source,
    steering.draw AS draw,
    steering.block AS block,
    steering.evaluation AS evaluation,
    steered_text.dose_kind AS dose_kind,
    steered_text.dose AS dose,
    steered_text.item AS item,
    steered_text.sample AS sample,
    steered_text.prompt AS prompt,
    steered_text.text AS text,
    steered_text.label AS label,
    steered_text.score AS score
FROM steered_text
JOIN v_study_job AS current ON current.job_id = steered_text.job_id
JOIN (
    SELECT DISTINCT job_id, training, reader, concept, source, draw, block, evaluation FROM steering_effect
) AS steering ON steering.job_id = steered_text.job_id;

CREATE VIEW v_steering_contrast AS
SELECT
    current.study AS study,
    steering_contrast.training AS training,
    steering_contrast.reader AS reader,
    steering_contrast.dose_kind AS dose_kind,
    steering_contrast.evaluation AS evaluation,
    steering_contrast.measure AS measure,
    steering_contrast.quantity AS quantity,
    steering_contrast.source AS source,
    steering_contrast.expected AS expected,
    steering_contrast.value AS value,
    steering_contrast.ci_low AS ci_low,
    steering_contrast.ci_high AS ci_high,
    steering_contrast.p AS p,
    steering_contrast.n AS n
FROM steering_contrast
JOIN v_study_job AS current ON current.job_id = steering_contrast.job_id;

CREATE VIEW v_concept_latent AS
SELECT
    current.study AS study,
    concept_latent.training AS training,
    concept_latent.concept AS concept,
    sae_checkpoint.name AS sae,
    concept_latent.block AS block,
    concept_latent.signal AS signal,
    concept_latent.latent AS latent,
    concept_latent.r AS r,
    concept_latent.r_partial AS r_partial,
    concept_latent.cosine AS cosine,
    concept_latent.activation AS activation
FROM concept_latent
JOIN v_study_job AS current ON current.job_id = concept_latent.job_id
JOIN sae_checkpoint ON sae_checkpoint.id = concept_latent.sae_id;

CREATE VIEW v_concept_signal AS
SELECT
    current.study AS study,
    concept_signal.training AS training,
    concept_signal.concept AS concept,
    sae_checkpoint.name AS sae,
    concept_signal.block AS block,
    concept_signal.signal AS signal,
    concept_signal.n_latents AS n_latents,
    concept_signal.cosine AS cosine,
    concept_signal.cosine_low AS cosine_low,
    concept_signal.cosine_high AS cosine_high,
    concept_signal.cosine_p AS cosine_p,
    concept_signal.share AS share,
    concept_signal.share_high AS share_high,
    concept_signal.share_p AS share_p
FROM concept_signal
JOIN v_study_job AS current ON current.job_id = concept_signal.job_id
JOIN sae_checkpoint ON sae_checkpoint.id = concept_signal.sae_id;

CREATE VIEW v_planted_axis AS
SELECT
    current.study AS study,
    planted_axis.model AS model,
    planted_axis.evaluation AS evaluation,
    planted_axis.planted AS planted,
    planted_axis.expected AS expected,
    planted_axis.contrast AS contrast,
    planted_axis.ci_low AS ci_low,
    planted_axis.ci_high AS ci_high,
    planted_axis.cosine AS cosine,
    planted_axis.cohen_d AS cohen_d,
    planted_axis.found AS found
FROM planted_axis
JOIN v_study_job AS current ON current.job_id = planted_axis.job_id;
