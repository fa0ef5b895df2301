-- The states in which each latent is largest, and what its removal there takes from every action's Q-value.
SELECT study, model, sae, block, latent, rank, state, value, q_effect
FROM v_latent_example
ORDER BY study, model, sae, block, latent, rank
