package caddymodule

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestRegisterMetricsTwice(t *testing.T) {
	t.Parallel()
	for range 2 { // two configurations
		reg := prometheus.NewRegistry()
		for range 2 { // two users of one configuration
			if err := registerMetrics(reg); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := reg.Gather(); err != nil {
			t.Error(err)
		}
	}
	if err := registerMetrics(nil); err != nil {
		t.Error(err)
	}
}

func TestRegisterMetricsClash(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	reg.MustRegister(prometheus.NewCounter(prometheus.CounterOpts{Name: "caddy_capture_clicks_total", Help: "Another."}))
	if err := registerMetrics(reg); err == nil {
		t.Error("a clash of names should be an error")
	}
}

func TestMetricsLint(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	if err := registerMetrics(reg); err != nil {
		t.Fatal(err)
	}
	problems, err := testutil.GatherAndLint(reg)
	if err != nil || len(problems) > 0 {
		t.Error(problems, err)
	}
}

func TestCampaignLabelsAreBounded(t *testing.T) {
	t.Parallel()
	s := labelSet{limit: 3}
	for i := range 5 {
		v := fmt.Sprint("c", i)
		want := v
		if i >= 3 {
			want = otherLabel
		}
		if got := s.admit(v); got != want {
			t.Errorf("%s became %s", v, got)
		}
	}
	if s.admit("c1") != "c1" {
		t.Error("a known value should stay")
	}
	s.name("declared")
	if s.admit("declared") != "declared" {
		t.Error("what a configuration names should always be admitted")
	}
	for _, v := range []string{"\xff", strings.Repeat("x", 1000)} {
		s.name(v)
		if got := s.admit(v); got != otherLabel {
			t.Errorf("%q became %q", v, got)
		}
	}
}

func TestCountingHostileLabels(t *testing.T) {
	before := testutil.CollectAndCount(clicksTotal)
	for i := range 2 * maxCampaignLabels {
		countClick(fmt.Sprintf("made up %d", i), "click")
	}
	countClick("\xff\xfe", "click")
	countPostback("\xff", "rejected", "") // must not panic
	if n := testutil.CollectAndCount(clicksTotal) - before; n > maxCampaignLabels+1 {
		t.Errorf("%d new series", n)
	}
	if testutil.ToFloat64(clicksTotal.WithLabelValues(otherLabel, "click")) < maxCampaignLabels {
		t.Error("the rest should be counted as other")
	}
	campaignLabels = labelSet{limit: maxCampaignLabels} // for the other tests
}

func TestCountConcurrently(t *testing.T) {
	t.Parallel()
	before := testutil.ToFloat64(postbacksTotal.WithLabelValues("concurrent", "recorded", ""))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 1000 {
				countPostback("concurrent", "recorded", "")
			}
		})
	}
	wg.Wait()
	if got := testutil.ToFloat64(postbacksTotal.WithLabelValues("concurrent", "recorded", "")) - before; got != 8000 {
		t.Errorf("counted %v", got)
	}
}

func BenchmarkCountClick(b *testing.B) {
	campaignLabels.name("bench")
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			countClick("bench", "click")
		}
	})
}

func BenchmarkCountClickOther(b *testing.B) {
	b.ReportAllocs()
	name := strings.Repeat("x", 1000)
	for b.Loop() {
		countClick(name, "click")
	}
}
