-- What each search finds on each task, as a share of the best head of the same episodes, and what it costs.
SELECT study, model, task, method, trained_best_of, task_code, best_of, count(*) AS episodes,
    avg(best_score) AS best_score, avg(oracle) AS oracle, avg(share) AS share,
    avg(CASE WHEN best_head = oracle_head THEN 1.0 ELSE 0.0 END) AS found_the_best, avg(forward_passes) AS forward_passes
FROM v_search_episode
GROUP BY study, model, task, method, trained_best_of, task_code, best_of
ORDER BY study, model, task, share DESC
