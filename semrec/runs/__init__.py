"""Plans and verifies runs, each one all-user scoring of a release, and says what is live."""
