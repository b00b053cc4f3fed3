package main

import (
	"context"
	"errors"

	"github.com/chatdm/chatdm"
)

// The exit codes.
const (
	exitOK          = 0
	exitUsage       = 1
	exitIncomplete  = 2
	exitDenied      = 3
	exitInterrupted = 130
)

const exitCodes = `
Exit codes:
  0    every ID is closed
  1    a flag, a setting, the IDs, or the journal is invalid
  2    some IDs could not be closed, or are still pending
  3    IDs are pending because Slack rejected the token or denied it a permission
  130  interrupted; a second Ctrl-C does not wait for running calls
After 2, 3, 130, or a crash, -resume closes the pending IDs. A 429 in the first
minute is normal: Slack still counts the calls of the earlier sweep.

The summary counts the IDs by outcome. "Closed by earlier attempt" means that the
conversation was closed already, and that an attempt whose response was lost may
have closed it. The outcome of an ID that is not closed is the kind of its error.
`

// exitCode returns the exit code for an error that precedes the first close.
func exitCode(err error) int {
	switch {
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.Is(err, chatdm.KindUnauthenticated), errors.Is(err, chatdm.KindPermissionDenied):
		return exitDenied
	}
	return exitUsage
}
