-- Latents of one block with r > 0.7 with the TD error on Two-Step, with their intervals and what speaks against them.
SELECT study, sae, latent, r, ci_low, ci_high, r_heldout, r_partial, q_value
FROM v_latent_correlation
WHERE task = 'two_step' AND signal = 'td_error' AND block = 3 AND r > 0.7
ORDER BY r DESC
