package pgstore

import (
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/caddy-capture/caddy-capture/capture"
)

// SQLSTATE codes that mean something to us.
const (
	codeSerialization = "40001"
	codeDeadlock      = "40P01"
	codeUnique        = "23505"
	codeNoPartition   = "23514" // check violation: no partition takes the row
	codeLockTimeout   = "55P03"
	codeNoTable       = "42P01"
	codeSyntax        = "42601"
	codeUnsupported   = "0A000"
	codeDiskFull      = "53100"
	codeUnknown       = "40003" // statement completion unknown
)

// errDamaged: a record cannot be read as it was written.
var errDamaged = errors.New("a record in the database cannot be read")

// codeOf returns the SQLSTATE of an error of the server, or "".
func codeOf(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return ""
}

// tableOf returns the table that an error of the server is about, or "".
func tableOf(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.TableName
	}
	return ""
}

// collided tells of an error that came only from who else was writing.
func collided(err error) bool {
	code := codeOf(err)
	return code == codeSerialization || code == codeDeadlock
}

// refused tells that the server itself said that it did not commit. Whatever
// ends the connection says nothing of that: the server may have been asked to
// stop right after it had committed.
func refused(err error) bool {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || pg.SeverityUnlocalized == "FATAL" || pg.SeverityUnlocalized == "PANIC" ||
		pg.SeverityUnlocalized == "" && pg.Severity != "ERROR" {
		return false
	}
	return pg.Code != codeUnknown && !strings.HasPrefix(pg.Code, "08") &&
		(!strings.HasPrefix(pg.Code, "57") || pg.Code == "57014") // which cancels before, and not while, it commits
}

// stillOpen tells that a transaction has not ended, as where something could not
// even be sent.
func stillOpen(c *pgx.Conn) bool { return !c.IsClosed() && c.PgConn().TxStatus() == 'T' }

// away makes of an error before anything was written what the ledger knows.
func away(doing string, err error) error {
	kind := capture.ErrUnavailable
	switch {
	case errors.Is(err, errDamaged):
		kind = capture.ErrDamaged
	case codeOf(err) == codeDiskFull:
		kind = capture.ErrNoSpace
	case errors.Is(err, capture.ErrNewerFormat), errors.Is(err, capture.ErrUnavailable), errors.Is(err, capture.ErrClosed), errors.Is(err, capture.ErrFatal),
		errors.Is(err, capture.ErrNoSpace), errors.Is(err, capture.ErrUnknown), errors.Is(err, capture.ErrRefused):
		return err
	case denied(err) != "":
		return fmt.Errorf("%w: %s: %w: %s: %w", capture.ErrUnavailable, doing, capture.ErrDenied, denied(err), err)
	case refusedForGood(err):
		kind = capture.ErrRefused
	}
	return fmt.Errorf("%w: %s: %w", kind, doing, err)
}
