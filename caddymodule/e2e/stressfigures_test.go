package e2e

import (
	"cmp"
	"slices"
	"time"
)

// latencies sum up some requests, in milliseconds.
type latencies struct {
	requests      int
	p50, p99, max float64 // from when they were due
	slow          int     // those that took longer than their limit from then on
	stalled       int     // and longer than that from when they were sent
	sent          float64 // how late they were sent, at most
}

func summed(timings []timing, limit time.Duration) (s latencies) {
	if s.requests = len(timings); s.requests == 0 {
		return s
	}
	took := make([]time.Duration, len(timings))
	for i, t := range timings {
		if took[i] = t.took; t.took > limit {
			s.slow++
		}
		if t.took-t.late > limit {
			s.stalled++
		}
		s.sent = max(s.sent, float64(t.late)/1e6)
	}
	slices.Sort(took)
	ms := func(q float64) float64 {
		return float64(took[int(q*float64(len(took)-1))]) / 1e6
	}
	s.p50, s.p99, s.max = ms(0.5), ms(0.99), ms(1)
	return s
}

// dueIn are the requests that were due in a span.
func dueIn(timings []timing, from, to time.Duration) (some []timing) {
	for _, t := range timings {
		if from <= t.due && t.due < to {
			some = append(some, t)
		}
	}
	return some
}

// A stressInterval is what happened in one, and what the server held at its end.
type stressInterval struct {
	end                         time.Duration
	clicks, controls, postbacks latencies
	gauge
	starved float64 // seconds that the server's threads waited for a processor, for each second
	jobs    []string
}

// stressLimit is what a redirect may take.
const stressLimit = stressWait + stressSlack

// fill sums up the requests that were due in each interval, of which the first begins at from. They
// are bucketed first: an hour has many.
func (l *stressLoad) fill(intervals []stressInterval, jobs []job, from time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	bucketed := func(all []timing) [][]timing {
		buckets := make([][]timing, len(intervals))
		for _, t := range all {
			if t.due < from {
				continue
			}
			i, found := slices.BinarySearchFunc(intervals, t.due, func(v stressInterval, due time.Duration) int {
				return cmp.Compare(v.end, due)
			})
			if found {
				i++ // an interval ends before what is due at its end
			}
			if i < len(buckets) {
				buckets[i] = append(buckets[i], t)
			}
		}
		return buckets
	}
	clicks, controls, posts := bucketed(l.clicks), bucketed(l.controls), bucketed(l.posts)
	begin := from
	for i := range intervals {
		v := &intervals[i]
		if i > 0 {
			v.starved = max(0, v.waited-intervals[i-1].waited) / (v.end - begin).Seconds()
		}
		v.clicks, v.controls = summed(clicks[i], stressLimit), summed(controls[i], stressSlack)
		v.postbacks = summed(posts[i], stressLimit)
		for _, name := range jobNames {
			if slices.ContainsFunc(jobs, func(j job) bool { return j.name == name && j.begin < v.end && j.end >= begin }) {
				v.jobs = append(v.jobs, name)
			}
		}
		begin = v.end
	}
}

// A growth is what a figure was in the first and in the last quarter of the time: medians.
type growth struct{ first, last gauge }

func grown(intervals []stressInterval) (g growth) {
	n := max(1, len(intervals)/4)
	if len(intervals) == 0 {
		return g
	}
	quarter := func(of []stressInterval) (m gauge) {
		for i, into := range m.each() {
			var values []float64
			for _, v := range of {
				values = append(values, *v.gauge.each()[i])
			}
			*into = median(values)
		}
		return m
	}
	return growth{quarter(intervals[:n]), quarter(intervals[len(intervals)-n:])}
}

// A share is what part of the time a job took, and of the stalls.
type share struct {
	job              string
	times            int
	took             time.Duration // together
	longest          time.Duration
	clicks, controls latencies
}

// shares tell which job was under way when redirects were slow; the first share is of none.
func (l *stressLoad) shares(jobs []job, from, to time.Duration) []share {
	l.mu.Lock()
	defer l.mu.Unlock()
	ofJob := func(timings []timing) map[string][]timing {
		by := make(map[string][]timing)
		i := 0
		slices.SortFunc(timings, func(a, b timing) int { return cmp.Compare(a.due, b.due) })
		for _, t := range timings {
			if t.due < from || t.due >= to {
				continue
			}
			for i < len(jobs) && jobs[i].end < t.due {
				i++
			}
			name := during(jobs[i:min(i+2, len(jobs))], t.due, t.due+t.took)
			by[name] = append(by[name], t)
		}
		return by
	}
	clicks, controls := ofJob(l.clicks), ofJob(l.controls)
	all := make([]share, 0, len(jobNames)+1)
	busy := time.Duration(0)
	for _, name := range append([]string{""}, jobNames...) {
		s := share{job: name, clicks: summed(clicks[name], stressLimit), controls: summed(controls[name], stressSlack)}
		for _, j := range jobs {
			if j.name == name && j.begin < to && j.end >= from {
				s.times++
				s.took += j.end - j.begin
				s.longest = max(s.longest, j.end-j.begin)
			}
		}
		busy += s.took
		all = append(all, s)
	}
	all[0].job, all[0].took = "nothing", to-from-busy
	return all
}
