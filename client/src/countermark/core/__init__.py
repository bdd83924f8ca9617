"""Pure trust code: no file, no socket, no clock. The only part of the client that the server imports."""
