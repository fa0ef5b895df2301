-- What concept vectors do beyond controls of the same norm, by evaluation: Gold's slope over the dose less Mold's.
SELECT study, training, reader, dose_kind, evaluation, measure, source, expected, value, ci_low, ci_high, p, n,
    CASE WHEN expected * ci_low > 0 AND expected * ci_high > 0 THEN 1 ELSE 0 END AS as_expected
FROM v_steering_contrast
WHERE quantity = 'contrast'
ORDER BY study, training, reader, dose_kind, evaluation, source
