"""`brokerbench calibrate`: the whole harness against a fake server whose own log says what is true."""
