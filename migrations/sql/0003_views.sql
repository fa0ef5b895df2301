-- The views that 0003 makes anew; the others are as in 0002.
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
    analysis.top AS top,
    analysis.cutoff AS cutoff,
    coverage.blob AS blob
FROM coverage
JOIN analysis ON analysis.id = coverage.analysis_id
JOIN v_study_job AS current ON current.job_id = analysis.job_id
JOIN model ON model.id = analysis.model_id
JOIN signal ON signal.id = coverage.signal_id;
