"""Problem sets: one source each, released and graded with nbgrader, judged where a student's code cannot reach."""
