package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	slowSenders = 200
	// A server gives up on a body after ten seconds; this is when a test gives up on the server.
	slowTimeout = 30 * time.Second
)

// Senders who take for ever over a body are cut off, all of them, and while they are there visitors and
// honest senders notice nothing.
func TestEndlessBodies(t *testing.T) {
	t.Parallel()
	s := startServer(t, abuseSite)
	id := s.click("/go/acme", "cid")
	before, hasMemory := s.residentMemory()
	var wg sync.WaitGroup
	defer wg.Wait()
	ended := make(chan struct{})
	for i := range slowSenders {
		wg.Go(func() {
			if err := s.sendSlowly(i, id); err != nil {
				t.Error(err)
			}
		})
	}
	go func() {
		wg.Wait()
		close(ended)
	}()
	booked := 0
	for done := false; !done; {
		select {
		case <-ended:
			done = true
		case <-time.After(500 * time.Millisecond):
		}
		fresh := s.click("/go/acme", "cid")
		if a := s.get("/token?click_id=" + fresh + "&token=" + forgedToken); a.status != 200 {
			t.Errorf("a genuine postback meanwhile: status %d %s", a.status, a.body)
		}
		booked++
	}
	if now, _ := s.residentMemory(); hasMemory && now-before > floodMemory {
		t.Errorf("the server grew from %d to %d MiB", before>>20, now>>20)
	}
	if n := len(s.all("/capture/conversions")); n != booked {
		t.Errorf("%d conversions, want %d", n, booked)
	}
}

// sendSlowly sends a byte, or a chunk of one, every now and then until the server answers.
func (s *server) sendSlowly(i int, id string) error {
	conn, err := net.DialTimeout("tcp", s.site(), requestTimeout)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(slowTimeout)); err != nil {
		return err
	}
	length, piece := "Content-Length: 60000", "x"
	if i%2 == 0 {
		length, piece = "Transfer-Encoding: chunked", "1\r\nx\r\n"
	}
	if _, err := fmt.Fprintf(conn, "POST /open?click_id=%s HTTP/1.1\r\nHost: %s\r\n%s\r\n\r\n", id, s.site(), length); err != nil {
		return err
	}
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		for {
			if _, err := io.WriteString(conn, piece); err != nil {
				return
			}
			select {
			case <-stop:
				return
			case <-time.After(time.Second):
			}
		}
	}()
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return fmt.Errorf("a slow sender got no answer: %w", err)
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 400 || !strings.Contains(string(text), `"malformed_request","detail":"the body did not arrive in time`) {
		return fmt.Errorf("a slow sender got %d %s, %v", resp.StatusCode, text, err)
	}
	if _, err := r.ReadByte(); err == nil {
		return fmt.Errorf("the connection of a slow sender goes on")
	}
	return nil
}
