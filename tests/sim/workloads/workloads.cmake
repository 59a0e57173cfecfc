target_sources(quorate_simulation PRIVATE
  workloads/bank.cc workloads/catalogue.cc workloads/constraints.cc workloads/contention.cc
  workloads/counter.cc workloads/grow_set.cc workloads/histories.cc workloads/increments.cc workloads/internal.cc
  workloads/large.cc workloads/list_append.cc workloads/long_fork.cc workloads/long_snapshot.cc
  workloads/monotonic.cc workloads/outcomes.cc workloads/rw_register.cc workloads/thin.cc
  workloads/thin_client.cc workloads/set.cc)
quorate_test(sim_workloads_test SOURCES workloads/workloads_test.cc workloads/weak_database.cc
             DEPS quorate_simulation TIMEOUT 300)
