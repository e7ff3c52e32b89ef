package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// A job is something that operators do beside the load, and when it was done.
type job struct {
	name       string
	begin, end time.Duration // since the load began
}

// stressJobs are done in turns for as long as the load lasts.
type stressJobs struct {
	l     *stressLoad
	pause time.Duration
	http  http.Client
	build int

	stopped chan struct{}
	running sync.WaitGroup
	done    []job
	bytes   int64 // of the last backup
	faults  []error
}

const (
	jobReport = "report"
	jobDrill  = "drill-down"
	jobBackup = "backup"
	jobReload = "reload"
)

var jobNames = []string{jobReport, jobDrill, jobBackup, jobReload}

func newStressJobs(l *stressLoad, pause time.Duration) *stressJobs {
	// A connection of its own for each job: a reload closes those of the admin API.
	return &stressJobs{l: l, pause: pause, http: http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, build: 1}
}

func (j *stressJobs) start() {
	j.stopped = make(chan struct{})
	j.running.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-j.stopped:
				return
			case <-time.After(j.pause):
			}
			j.do(jobNames[n%len(jobNames)])
		}
	})
}

func (j *stressJobs) stop() {
	close(j.stopped)
	j.running.Wait()
	j.http.CloseIdleConnections()
}

// do does one job, and notes when and what went wrong.
func (j *stressJobs) do(name string) {
	begin := time.Since(j.l.begin)
	err := j.try(name)
	j.done = append(j.done, job{name, begin, time.Since(j.l.begin)})
	if err != nil {
		j.faults = append(j.faults, fmt.Errorf("%s: %w", name, err))
	}
}

func (j *stressJobs) try(name string) error {
	switch name {
	case jobReport:
		return j.get("/capture/report?by=campaign,day", io.Discard)
	case jobDrill:
		return j.get("/capture/report?by=campaign,sub.sub2", io.Discard)
	case jobBackup:
		return j.backup()
	default:
		return j.reload()
	}
}

func (j *stressJobs) get(target string, into io.Writer) error {
	answer, err := j.http.Get("http://" + j.l.s.admin + target)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	n, err := io.Copy(into, answer.Body)
	if err == nil && (answer.StatusCode != 200 || n == 0) {
		err = fmt.Errorf("status %d and %d bytes", answer.StatusCode, n)
	}
	return err
}

// backup writes a file in the place of the last one.
func (j *stressJobs) backup() error {
	f, err := os.Create(filepath.Join(j.l.s.dir, "stress.backup"))
	if err != nil {
		return err
	}
	defer f.Close()
	if err := j.get("/capture/backup", f); err != nil {
		return err
	}
	j.bytes, err = f.Seek(0, io.SeekCurrent)
	return err
}

// reload changes a header of the site.
func (j *stressJobs) reload() error {
	j.build++
	c := client{addr: j.l.s.admin}
	defer c.close()
	a, err := c.do("POST", "/load", j.l.s.expand(stressBuild(j.build)), "Content-Type: text/caddyfile")
	if err == nil && a.status != 200 {
		err = fmt.Errorf("status %d %s", a.status, a.body)
	}
	return err
}

// during names the job that was under way at some time of a span, or "".
func during(jobs []job, from, to time.Duration) string {
	for i := len(jobs) - 1; i >= 0; i-- {
		if jobs[i].begin <= to && from <= jobs[i].end {
			return jobs[i].name
		}
		if jobs[i].end < from { // they are in order
			break
		}
	}
	return ""
}
