"""`brokerbench capacity`: the highest rate at which a system holds an objective, and latency against load up to it."""
