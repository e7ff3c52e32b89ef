package e2e

import (
	"testing"
	"time"

	"github.com/caddy-capture/caddy-capture/capture/storetest/baddisk"
)

// TestDiskStops lets a disk answer nothing at all for a while, under a steady load. Redirects go on
// without it, postbacks wait or are told to come again, and afterwards everything is there once.
func TestDiskStops(t *testing.T) {
	baddisk.Require(t)
	length := 3 * time.Second
	if longStress() {
		length = 10 * time.Second
	}
	for name, stop := range map[string]func(*baddisk.Disk, testing.TB) func(){
		"nothing can be written":     (*baddisk.Disk).Stall,
		"the device does not answer": (*baddisk.Disk).Hang,
	} {
		t.Run(name, func(t *testing.T) {
			d := baddisk.New(t, faultyDisk)
			site := stressBuild(1)
			s := newServerOn(t, d, site)
			s.start()
			l := newStressLoad(s)
			defer l.conns.close()
			l.start(stressRates{clicks: 200, postbacks: 20, controls: 50})
			time.Sleep(time.Second)
			resume := stop(d, t)
			begin := time.Since(l.begin)
			time.Sleep(length)
			during := s.stressHealth(t)
			collected := s.collectGarbage() // which must not wait for the disk either
			resume()
			end := time.Since(l.begin)
			time.Sleep(time.Second)
			l.stop()
			if err := <-collected; err != nil {
				t.Error(err)
			}
			t.Logf("after %v without the disk %d clicks and %d postbacks waited, %d clicks were late", length,
				during.Queue.Clicks, during.Queue.Postbacks, during.Late)
			l.tell(t, begin, end)
			l.tellRefused(t)
			if longStress() && l.refused == 0 {
				t.Error("no postback was told to come again")
			}
			if during.Queue.Clicks == 0 {
				t.Error("nothing waited: the disk went on")
			}
			l.sendAgain(t)
			l.verify(t)
			if lost := s.stressHealth(t).Lost; lost > 0 {
				t.Errorf("%d clicks were lost", lost)
			}
			s.check()
			s.stop()
		})
	}
}
