package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A payload is a sample of what a sender sends, without its proof.
type payload struct {
	name, body string
	headers    []string
}

var (
	isoTimes = regexp.MustCompile(`20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?`)
	epochs   = regexp.MustCompile(`\b1795\d{6}\b`)
)

// readPayload reads one from the catalogue's samples. Its times become at, and each delivery has an ID of its own.
func readPayload(t testing.TB, network, name string, at time.Time) payload {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "capture", "network", "testdata", network, name+".http"))
	if err != nil {
		t.Fatal(err)
	}
	head, body, _ := strings.Cut(string(text), "\n\n")
	p := payload{name: name, body: strings.TrimSuffix(body, "\n")}
	for line := range strings.Lines(head) {
		line = strings.TrimSpace(line)
		if strings.Contains(line, ": ") && !strings.HasPrefix(line, "#") && !strings.HasSuffix(line, ": SIGNED") {
			p.headers = append(p.headers, line)
		}
	}
	p.body = isoTimes.ReplaceAllStringFunc(p.body, func(was string) string {
		format := "2006-01-02T15:04:05"
		if strings.HasSuffix(was, "Z") || strings.ContainsAny(was[11:], "+-") {
			format += "Z07:00"
		}
		return at.UTC().Format(format)
	})
	p.body = epochs.ReplaceAllString(p.body, strconv.FormatInt(at.Unix(), 10))
	p.body = strings.ReplaceAll(p.body, "evt_1NG8Du2eZvKYlo2CUI79vXWy", "evt_"+strconv.FormatInt(at.UnixNano(), 36))
	return p
}

// withClick puts a click ID into a payload.
func withClick(body, id string) string { return strings.ReplaceAll(body, "CLICK", id) }
