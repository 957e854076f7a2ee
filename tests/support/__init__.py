"""What tests share: inputs, servers, runs of commands."""
