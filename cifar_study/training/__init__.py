"""From a stage and the pictures to a result: networks, the loop, and ways to run many."""
