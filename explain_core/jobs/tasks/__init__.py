"""What workers do for the app: functions of a `Report` and plain values. Frameworks are imported with the model."""
