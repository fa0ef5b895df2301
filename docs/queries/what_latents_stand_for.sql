-- Latents that tell a predicate better than chance would among all of them, and whether the network's choice needs them.
SELECT p.study, p.model, p.sae, p.block, p.latent, p.predicate, p.f1_heldout, p.ci_low, p.ci_high, p.null_threshold,
    p.p_familywise, p.matched_share, p.added_share, p.added_low, p.decoder_f1, m.value AS flip_rate
FROM v_latent_predicate AS p
LEFT JOIN v_latent_measure AS m
    ON m.study = p.study AND m.model = p.model AND m.sae = p.sae AND m.block = p.block AND m.latent = p.latent
    AND m.measure = 'flip_rate'
WHERE p.source = 'sae' AND p.p_familywise < 0.05
ORDER BY p.f1_heldout DESC NULLS LAST, p.study, p.model, p.sae, p.latent
