package capture

import "errors"

// Errors of a store's Commit. They have exactly three meanings: not applied
// (ErrUnavailable, ErrNoSpace, ErrTooLarge, ErrRefused), outcome unknown (ErrUnknown), and never again
// (ErrFatal).
var (
	// ErrUnavailable: nothing was written; the same may succeed later.
	ErrUnavailable = errors.New("the store is not available")
	// ErrNoSpace: nothing was written because the disk is too full; writing
	// goes on by itself when there is room again.
	ErrNoSpace = errors.New("the disk is too full to write safely")
	// ErrTooLarge: nothing was written because the batch is more than the
	// store takes at once; halves of it may do.
	ErrTooLarge = errors.New("the batch is too large for one write")
	// ErrRefused: nothing was written, and the store will never take the batch
	// as it is, whatever comes: parts of it may do.
	ErrRefused = errors.New("the store refuses what it is asked to keep")
	// ErrUnknown: whether the batch was written is not known. The caller
	// sends the same batch again; the store applies it at most once.
	ErrUnknown = errors.New("it is not known whether the write took place")
	// ErrFatal: the store must not be used any more by this process.
	ErrFatal = errors.New("the store has failed and was stopped")
)

// Errors at opening and closing.
var (
	// ErrLocked: another process has the store open.
	ErrLocked = errors.New("the store is in use by another process")
	// ErrClosed: the store was closed, for example by a reload that moved it.
	ErrClosed = errors.New("the store is closed")
	// ErrNewerFormat: a newer version of the program wrote the store.
	ErrNewerFormat = errors.New("the store was written by a newer version")
	// ErrDamaged: what is stored cannot be read as it was written. Such a
	// store is not opened, or is stopped: no number could be trusted.
	ErrDamaged = errors.New("the store is damaged")
)

// ErrDenied comes with ErrUnavailable where the server of a shared store turns
// this node away, until a person changes something there or in the
// configuration.
var ErrDenied = errors.New("the server turns this node away")

// ErrNotFound: there is no such record, or no longer.
var ErrNotFound = errors.New("not found")
