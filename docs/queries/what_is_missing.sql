-- For every block and signal: the |r| above which no latent is missing from SQL, and where the whole matrix lies.
SELECT study, source, sae, block, signal, n_live, n_kept, min_abs_r_kept, r_threshold, cutoff, blob
FROM v_coverage
ORDER BY study, source, sae, signal, block
