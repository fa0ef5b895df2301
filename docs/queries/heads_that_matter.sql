-- Heads by what removing them does in evaluation episodes: to the task, to other text, and by the first-order estimate.
SELECT s.study, s.model, s.task, s.name AS head, avg(s.score) AS score, avg(s.task_damage) AS task_damage,
    avg(s.control_damage) AS control_damage, avg(s.attribution) AS attribution, count(*) AS episodes,
    (SELECT min(label) FROM v_head_label AS l
     WHERE l.study = s.study AND l.model = s.model AND l.name = s.name AND l.task IN ('', s.task)) AS known_for
FROM v_head_score AS s
WHERE s.split = 'evaluation' AND s.ablation = 'value_bias'
GROUP BY s.study, s.model, s.task, s.name
ORDER BY s.study, s.model, s.task, score DESC
