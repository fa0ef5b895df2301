-- Dose curves of the model before any maze: what each dose of a trained vector does, beside the naive model's own vector
-- and the mean of random pairs, the trained pair turned; and how many of the replies fell apart.
SELECT study, training, concept, evaluation, measure, dose_kind, dose,
    avg(CASE WHEN source = 'trained' THEN value END) AS trained,
    avg(CASE WHEN source = 'untrained' THEN value END) AS untrained,
    avg(CASE WHEN source = 'random' THEN value END) AS random,
    avg(CASE WHEN source = 'trained' THEN incoherent END) AS incoherent
FROM v_steering_effect
WHERE reader = 'naive' AND grp = 'all'
GROUP BY study, training, concept, evaluation, measure, dose_kind, dose
ORDER BY study, training, evaluation, measure, dose_kind, concept, dose
