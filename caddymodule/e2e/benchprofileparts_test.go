package e2e

import (
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

func recordedStacks(t *testing.T) []stack {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "profile.traces"))
	if err != nil {
		t.Fatal(err)
	}
	stacks, err := parseTraces(string(text))
	if err != nil {
		t.Fatal(err)
	}
	return stacks
}

// The recorded traces have a stack or two of each part.
func TestProfileParts(t *testing.T) {
	t.Parallel()
	got := make(map[workPart]time.Duration)
	for _, s := range recordedStacks(t) {
		got[s.part()] += s.took
	}
	want := map[workPart]time.Duration{
		partWait: 20, partOwn: 20, partLookup: 10, partStored: 10, partDecide: 10, partEncode: 10, partWrite: 10,
		partSync: 140, partCompact: 10, partCommitter: 10, partBack: 20, partCalls: 10, partHTTP: 20, partCaddy: 20,
		partGC: 20, partSchedule: 10, partElse: 10, partNone: 10,
	}
	for p, ms := range want {
		if got[p] != ms*time.Millisecond {
			t.Errorf("%q has %v, want %d ms", p, got[p], ms)
		}
	}
	for _, p := range workParts {
		if want[p] == 0 {
			t.Errorf("nothing of %q was recorded", p)
		}
	}
}

// Of two parts in one stack, the right one gets the time.
func TestProfileNesting(t *testing.T) {
	t.Parallel()
	const (
		serve   = "caddyhttp.(*Server).ServeHTTP;net/http.serverHandler.ServeHTTP;net/http.(*conn).serve;"
		inject  = "caddymodule.(*TrackClick).inject;caddymodule.(*TrackClick).ServeHTTP;caddyhttp.HandlerFunc.ServeHTTP;"
		book    = "capture.(*Ledger).Book;caddymodule.(*Postback).ServeHTTP;caddyhttp.HandlerFunc.ServeHTTP;"
		apply   = "capture.Apply;capture/badgerstore.(*Store).Commit;capture.(*committer).commit;"
		compact = "badger/v4.(*levelsController).subcompact;badger/v4.(*levelsController).compactBuildTables.func3;"
	)
	for calls, want := range map[string]workPart{
		"caddyhttp.MatchPath.MatchWithError;" + serve:                                          partCaddy,
		"caddyhttp.GetVar;" + inject + serve:                                                   partOwn,
		"caddyhttp.MatchPath.MatchWithError;caddyhttp.HandlerFunc.ServeHTTP;" + inject + serve: partCaddy,
		"net/http.Header.Clone;net/http.(*response).WriteHeader;" + inject + serve:             partHTTP,
		"runtime.gcAssistAlloc;runtime.mallocgc;" + inject + serve:                             partGC,
		"runtime.mallocgc;capture/badgerstore.(*Store).Click;" + book + serve:                  partLookup,
		"runtime.selectgo;" + book + serve:                                                     partWait,
		"capture.(*queue).addPostback;" + book + serve:                                         partOwn,
		"runtime.goready;runtime.closechan;capture.(*committer).commit;":                       partWait,
		"runtime.closechan;net/http.(*conn).serve;":                                            partHTTP,
		"capture.DecodeRecord;capture/badgerstore.(*tx).Conversion;" + apply:                   partStored,
		"badger/v4.(*Txn).Get;capture/badgerstore.(*tx).PutConversion;" + apply:                partEncode,
		"capture.bookNew;" + apply:                                                             partDecide,
		"golang.org/x/sys/unix.Fdatasync;capture.(*committer).commit;":                         partSync,
		"golang.org/x/sys/unix.Msync;" + compact:                                               partCompact,
		"runtime.mallocgc;badger/v4.(*Txn).CommitAt;capture.(*committer).commit;":              partWrite,
		"net.(*conn).Read;net/http.(*connReader).backgroundRead;":                              partBack,
		"net.(*conn).Read;net/http.(*connReader).Read;net/http.(*conn).serve;":                 partCalls,
		"time.sendTime;runtime.(*timers).run;runtime.schedule;runtime.mcall;":                  partSchedule,
		"main.main;runtime.main;runtime.notanything":                                           partElse,
	} {
		s := stack{calls: calls}
		if got := s.part(); got != want {
			t.Errorf("%s\nis %q, want %q", calls, got, want)
		}
	}
}

func TestProfileTraces(t *testing.T) {
	t.Parallel()
	const ruler = "-----------+------\n"
	const head = "File: caddy\nDuration: 5s, Total samples = 30ms\n"
	stacks, err := parseTraces(head + ruler + "      20ms   runtime.selectgo (inline)\n             a.B[go.shape.struct { C int }].D\n" +
		ruler + "      bytes:  1kB\n    1500ms   time.now\n" + ruler)
	want := []stack{{20 * time.Millisecond, "runtime.selectgo;a.B[go.shape.struct { C int }].D;"}, {1500 * time.Millisecond, "time.now;"}}
	if err != nil || len(stacks) != len(want) || stacks[0] != want[0] || stacks[1] != want[1] {
		t.Errorf("read %+v, %v", stacks, err)
	}
	for _, bad := range []string{"", head, head + ruler, head + ruler + "   20ms\n", head + ruler + "   runtime.selectgo\n"} {
		if stacks, err := parseTraces(bad); err == nil {
			t.Errorf("%q was read as %+v", bad, stacks)
		}
	}
}

func TestProfileTable(t *testing.T) {
	t.Parallel()
	var profiles []kindProfile
	for i, name := range profiledKinds {
		k := kindProfile{kind: name}
		// Two rounds of 5,000 requests, of which the profile sees about a half.
		k.add(benchFigures{cpu: float64(100 + i), requests: 5000}, []stack{
			{250 * time.Millisecond, "runtime.mcall;"}, {time.Second, "/caddy/v2.adminHandler.ServeHTTP;net/http.(*conn).serve;"},
		})
		k.add(benchFigures{cpu: float64(100 + i), requests: 5000}, []stack{{250 * time.Millisecond, "net/http.(*conn).serve;"}})
		profiles = append(profiles, k)
	}
	if k := profiles[0]; k.each(partHTTP) != 50 || k.each(partGC) != 0 || k.all() != 100 {
		t.Errorf("%v us of %v are net/http's, want 50 of 100", k.each(partHTTP), k.all())
	}
	text := profileTable(profiles)
	for _, want := range []string{
		`net/http: all else +50\.0 +50\.5 +51\.0 +51\.5 +52\.0 +52\.5 +53\.0 +0\.5 +0\.5 *\n`,
		`\n *all +100\.0 +101\.0 .* 1\.0 +1\.0 *\n`,
		`\n *samples +50 +50 `,
		`\n *% of its time the profile saw +50 +50 +49 `,
	} {
		if !regexp.MustCompile(want).MatchString(text) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if got, want := strings.Count(text, "\n"), 1+len(workParts)+3; got != want {
		t.Errorf("%d lines, want %d", got, want)
	}
	if none := (&kindProfile{}).each(partGC); !math.IsNaN(none) {
		t.Errorf("a part of nothing is %v", none)
	}
}
