target_sources(quorate_simulation PRIVATE
  workloads/bank.cc workloads/catalogue.cc workloads/list_append.cc workloads/set.cc
  workloads/thin_client.cc)
