"""What is wrong with this set-up, and how to mend it: the checks behind `realtime-bridge doctor`."""
