target_sources(quorate_simulation PRIVATE
  checks/checks.cc checks/contents.cc checks/durability.cc checks/record.cc checks/recorder.cc
  checks/replicas.cc checks/rest.cc)
quorate_test(sim_checks_test SOURCES checks/contents_test.cc checks/machines_test.cc
             DEPS quorate_simulation)
