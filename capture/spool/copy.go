package spool

import (
	"context"
	"errors"
	"fmt"

	"github.com/caddy-capture/caddy-capture/capture"
)

// OpenSource opens the shared store, unless something waits to be sent to it.
func (e *Engine) OpenSource(ctx context.Context) (capture.CopySource, error) {
	shared, err := e.copyable(ctx)
	if err != nil {
		return nil, err
	}
	return shared.OpenSource(ctx)
}

// OpenTarget makes the shared store a copy, unless something waits to be sent to
// it.
func (e *Engine) OpenTarget(ctx context.Context, head *capture.CopyHead) (capture.CopyTarget, error) {
	shared, err := e.copyable(ctx)
	if err != nil {
		return nil, err
	}
	return shared.OpenTarget(ctx, head)
}

func (e *Engine) copyable(ctx context.Context) (capture.CopyEngine, error) {
	shared, ok := e.Shared.(capture.CopyEngine)
	if !ok {
		return nil, fmt.Errorf("stores such as %s cannot be copied", e.Key())
	}
	return shared, e.nothingWaits(ctx)
}

// nothingWaits refuses to go on while the queue has batches, or some are set aside:
// what is sent later would meet another store.
func (e *Engine) nothingWaits(ctx context.Context) error {
	q, err := e.OpenQueue(ctx)
	if err != nil {
		return err
	}
	waiting := false
	err = q.Heads(func(uint64, []byte, int64) error { waiting = true; return nil })
	var aside []string
	if err == nil {
		aside, err = q.Aside()
	}
	dir := q.AsideDir()
	if closed := q.Close(); err == nil {
		err = closed
	}
	switch {
	case err != nil:
	case waiting:
		err = errors.New("clicks and postbacks of this machine wait to be sent to the shared store: start Caddy until they are, or move the spool away")
	case len(aside) > 0:
		err = fmt.Errorf("clicks and postbacks of this machine that the shared store has refused wait in %q: start Caddy until it has taken them, "+
			"or move that directory away", dir)
	}
	return err
}

var _ capture.CopyEngine = (*Engine)(nil)
