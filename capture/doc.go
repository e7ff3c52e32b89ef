// Package capture turns requests into durable records: it mints and verifies
// click IDs, reads and authenticates postbacks, books them by the rules of
// package attribution, and keeps clicks, conversions and the journal in a
// [Store]. It knows HTTP but no web server, and stores only by interface.
package capture
