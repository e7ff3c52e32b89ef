package pgstore

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caddy-capture/caddy-capture/capture"
)

// Ping asks the database for next to nothing, to find out whether it answers
// and takes writes.
func (s *Store) Ping(ctx context.Context) error {
	ctx, leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if why := s.failure.Load(); why != nil {
		return fmt.Errorf("%w: %s", capture.ErrFatal, *why)
	}
	var readOnly string
	err = with(ctx, s.read, func(conn *pgxpool.Conn) error {
		return conn.QueryRow(ctx, `SHOW transaction_read_only`).Scan(&readOnly)
	})
	if err != nil {
		return away("asking whether the database is there", err)
	}
	if readOnly == "on" {
		for _, p := range []*pgxpool.Pool{s.write, s.read, s.bulk} {
			p.Reset() // new connections look for the server that does
		}
		return fmt.Errorf("%w: the database takes no writes: is it a standby?", capture.ErrUnavailable)
	}
	return nil
}
