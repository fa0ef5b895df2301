-- Of each latent: how often it fires, and in what share of the states where it does its removal changes the choice.
SELECT study, model, sae, block, latent,
    max(CASE WHEN measure = 'frequency' THEN value END) AS frequency,
    max(CASE WHEN measure = 'flip_rate' THEN value END) AS flip_rate
FROM v_latent_measure
GROUP BY study, model, sae, block, latent
ORDER BY flip_rate DESC NULLS LAST, study, model, sae, block, latent
