-- How well each model plays, metric by metric, with its interval (none where the value is exact) and over how much.
SELECT study, metric, model, value, ci_low, ci_high, n
FROM v_model_metric
ORDER BY study, metric, model
