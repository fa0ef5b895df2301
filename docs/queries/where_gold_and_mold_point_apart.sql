-- The cosine of each model's two concept vectors, the lowest first; a training of NULL is the model before any maze.
SELECT study, training, step, variant, block, cosine
FROM v_concept_cosine
WHERE (concept = 'mold' AND other = 'gold') OR (concept = 'gold' AND other = 'mold')
ORDER BY cosine, study, training, step, block
