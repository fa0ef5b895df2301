-- Where concept vectors are read, how well they tell apart the trajectories that chose the block (v_goal_tracking has
-- others), and how long they are beside the stream. A training of NULL is the model before any maze, a step one of a training's checkpoints.
SELECT study, training, step, variant, concept, block,
    norm, norm / stream_norm AS share_of_stream, auroc, cohen_d, overlap
FROM v_concept_vector
WHERE chosen
ORDER BY study, concept, variant, training, step
