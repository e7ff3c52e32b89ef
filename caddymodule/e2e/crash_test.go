package e2e

import (
	"strings"
	"testing"
	"time"
)

// TestStopUnderLoad ends the server in the middle of its work, first politely and then not.
func TestStopUnderLoad(t *testing.T) {
	s := startServer(t, strings.Replace(loadSite, "$EXTRA", "", 1))
	l := newLoad(s)
	rounds := []struct {
		name string
		end  func()
	}{
		{"SIGTERM", s.stop}, {"SIGTERM again", s.stop}, {"kill", s.kill}, {"kill again", s.kill}, {"kill once more", s.kill},
	}
	for _, round := range rounds {
		before, _ := l.acknowledged()
		l.start()
		time.Sleep(time.Second)
		l.ending.Store(true)
		round.end()
		l.stop()
		s.start()
		clicks, posts := l.acknowledged()
		if clicks == before {
			t.Fatalf("%s: no click was acknowledged", round.name)
		}
		t.Logf("%s: %d clicks and %d postbacks acknowledged so far", round.name, clicks, posts)
		l.verify(t)
		if t.Failed() {
			t.Fatalf("after %s", round.name)
		}
	}
	s.stop()
}
