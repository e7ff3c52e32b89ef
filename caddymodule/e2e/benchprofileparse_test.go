package e2e

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

// A stack is where the server was when samples were taken, and how much processor time they stand for.
type stack struct {
	took  time.Duration
	calls string // its functions, the innermost first, with a semicolon after each
}

// parseTraces reads what "go tool pprof -traces" prints: stacks between rulers, the time before the
// innermost function, one function a line.
func parseTraces(text string) ([]stack, error) {
	var stacks []stack
	begun, fresh := false, false
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		switch {
		case strings.HasPrefix(line, "-----------+"):
			begun, fresh = true, true
			continue
		case !begun || len(words) == 0:
			continue // the head, which names the binary and the duration
		case fresh && strings.HasSuffix(words[0], ":"):
			continue // a label
		}
		if fresh {
			took, err := time.ParseDuration(words[0])
			if err != nil || len(words) < 2 {
				return nil, fmt.Errorf("the profile's traces have %q where a stack begins", line)
			}
			stacks, fresh = append(stacks, stack{took: took}), false
			words = words[1:]
		}
		stacks[len(stacks)-1].calls += strings.TrimSuffix(strings.Join(words, " "), " (inline)") + ";"
	}
	if len(stacks) == 0 {
		return nil, fmt.Errorf("the profile has no stacks: %.500q", text)
	}
	return stacks, nil
}

// A workPart is a part of the work that a request makes.
type workPart string

const (
	partWait      workPart = "waiting for the commit, waking"
	partOwn       workPart = "Capture: handler"
	partLookup    workPart = "Capture: looking up the click"
	partStored    workPart = "commit: reading what is known"
	partDecide    workPart = "commit: deciding"
	partEncode    workPart = "commit: encoding records"
	partWrite     workPart = "commit: Badger's log and memtable"
	partSync      workPart = "commit: sync"
	partCompact   workPart = "commit: Badger's tables, later"
	partCommitter workPart = "commit: all else"
	partBack      workPart = "net/http: background read"
	partCalls     workPart = "net/http: read and write calls"
	partHTTP      workPart = "net/http: all else"
	partCaddy     workPart = "Caddy: routes, redir, respond"
	partGC        workPart = "garbage collector"
	partSchedule  workPart = "scheduler, timers, epoll"
	partElse      workPart = "anything else"
	partNone      workPart = "" // not done for a request
)

// workParts are the parts in the order of the table.
var workParts = []workPart{
	partWait, partOwn, partLookup, partStored, partDecide, partEncode, partWrite, partSync, partCompact, partCommitter,
	partBack, partCalls, partHTTP, partCaddy, partGC, partSchedule, partElse,
}

// workRules tell the part of the work from the functions of a stack. The first that matches decides:
// what is inside comes before what is around it.
var workRules = []struct {
	part  workPart
	calls *regexp.Regexp
}{
	// The benchmark looks at the metrics before and after what it measures.
	{partNone, regexp.MustCompile(`/caddy/v2\.adminHandler\.|prometheus\.\(\*Registry\)\.Gather\b`)},
	{partGC, regexp.MustCompile(`\bruntime\.(gc[A-Z]\w*|bgsweep|bgscavenge|wbBufFlush|sweepone|deductSweepCredit)\b`)},
	{partBack, regexp.MustCompile(`net/http\.\(\*connReader\)\.(backgroundRead|startBackgroundRead|abortPendingRead);`)},

	{partLookup, regexp.MustCompile(`capture/badgerstore\.\(\*Store\)\.Click;`)},
	{partOwn, regexp.MustCompile(`capture\.\(\*queue\)\.addPostback;.*capture\.\(\*Ledger\)\.Book;`)},
	{partWait, regexp.MustCompile(`capture\.\(\*Ledger\)\.(Wait|Book);`)},
	{partWait, regexp.MustCompile(`runtime\.closechan;.*capture\.\(\*committer\)\.`)},

	{partCompact, regexp.MustCompile(`badger/v4\.\(\*DB\)\.(flushMemtable|handleMemTableFlush)\b`)},
	{partCompact, regexp.MustCompile(`badger/v4\.\(\*levelsController\)\.(runCompactor|doCompact|runCompactDef|compactBuildTables|subcompact)\b`)},
	{partSync, regexp.MustCompile(`sys/unix\.(Msync|Fsync|Fdatasync);|syscall\.(Fsync|Fdatasync);|ristretto/v2/z\.(m|M)sync;`)},
	{partWrite, regexp.MustCompile(`badger/v4\.\(\*(DB\)\.(doWrites|writeRequests)|Txn\)\.[Cc]ommit\w*)`)},
	{partStored, regexp.MustCompile(`capture/badgerstore\.\(\*tx\)\.(Click|Any|Others|ByTxID|Conversion|Entry|Repeated|Awaiting|waits|get);`)},
	{partEncode, regexp.MustCompile(`capture/badgerstore\.\(\*tx\)\.(Put\w+|AddCounts|mark|set|delete);`)},
	{partDecide, regexp.MustCompile(`capture\.Apply;`)},
	{partCommitter, regexp.MustCompile(`capture\.\(\*committer\)\.|capture/badgerstore\.|dgraph-io/`)},

	{partCalls, regexp.MustCompile(`net\.\(\*conn\)\.(Read|Write);.*net/http\.`)},
	{partHTTP, regexp.MustCompile(`net/http\.\(\*(response|chunkWriter)\)\.`)},
	// With inject, the rest of Caddy's chain runs inside of our handler.
	{partCaddy, regexp.MustCompile(`caddyhttp\.(HandlerFunc|StaticResponse)\.ServeHTTP;.*caddymodule\.\(\*TrackClick\)\.inject;`)},
	{partOwn, regexp.MustCompile(`caddymodule\.\(\*(TrackClick|Postback)\)\.ServeHTTP;`)},
	{partCaddy, regexp.MustCompile(`caddyhttp\.\(\*Server\)\.ServeHTTP;`)},
	{partHTTP, regexp.MustCompile(`net/http\.`)},

	// What begins in the runtime, and was none of the above, is done for no goroutine in particular.
	{partSchedule, regexp.MustCompile(`(^|;)runtime\.[^;]*;$`)},
}

// part is what a stack belongs to.
func (s *stack) part() workPart {
	for _, r := range workRules {
		if r.calls.MatchString(s.calls) {
			return r.part
		}
	}
	return partElse
}
