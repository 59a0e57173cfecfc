target_sources(quorate_simulation PRIVATE
  checks/contents.cc checks/record.cc checks/recorder.cc)
