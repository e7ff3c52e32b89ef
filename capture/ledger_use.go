package capture

import "fmt"

// Switcher is a store that can be reached in another way while it is open: with
// a new password, say.
type Switcher interface {
	// Switch goes over to an engine of the same place. With an error it has gone
	// back to the one before.
	Switch(engine Engine) error
}

// Use makes the ledger reach its store by way of another engine, which is of the
// same place and has other settings. An error says why not, and then all is as it
// was before.
func (l *Ledger) Use(engine Engine) error {
	l.useMu.Lock()
	defer l.useMu.Unlock()
	store := l.state.Load().store
	if store != nil {
		s, ok := store.(Switcher)
		if !ok {
			return fmt.Errorf("the store %s is open, and takes other settings only after a restart", l.Key())
		}
		if err := s.Switch(engine); err != nil {
			return fmt.Errorf("using the store %s with other settings: %w", engine.Key(), err)
		}
	}
	l.engine.Store(&engine)
	return nil
}
