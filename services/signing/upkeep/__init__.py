"""What keeps a published index in order: renewing, checking, mending, moving, tidying and copying it."""
