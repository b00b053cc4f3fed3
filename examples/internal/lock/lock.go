// Package lock locks files, so that only one process at a time uses them. The system
// releases a lock when the process ends, however it ends.
package lock
