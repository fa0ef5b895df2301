-- Every unit of the studies: what it was computed with, by whom, in which attempt, and how long it took to be done.
SELECT study, stage, key, state, attempt, owner, git_commit, git_dirty, device, seed, started, finished, error
FROM v_job
ORDER BY study, job
