"""Paired LSTM, GRU and vanilla RNN: both runs side by side through every gate and timestep."""
