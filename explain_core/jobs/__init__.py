"""Work outside the app's process: workers in a sandbox, who of them runs, their limits, and every task of theirs."""
